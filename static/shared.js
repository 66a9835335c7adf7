/* The page of a share link: the photo as large as the window, and local times. */

import { Picture } from "./picture.js";
import { element, find } from "./page.js";
import { serverNow } from "./server-clock.js";
import { localizePage, writeMoment } from "./time.js";

document.documentElement.classList.add("js");
new Picture(element("frame"), ""); // the page does not have the id

const when = element("when");
const takenAt = Date.parse(find(when, "time").dateTime);
const update = () => writeMoment(when, takenAt, serverNow());
localizePage();
update();
setInterval(update, 10_000);
