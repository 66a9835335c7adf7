/* The page of a share link: the photo as large as the window, and local times. */

import { addFullSize } from "./full-size.js";
import { element, find } from "./page.js";
import { Picture } from "./picture.js";
import { serverNow } from "./server-clock.js";
import { localizePage, writeMoment } from "./time.js";

document.documentElement.classList.add("js");
localizePage();

const frame = document.getElementById("frame"); // null if the link does not work
if (frame) {
  new Picture(frame, ""); // the page does not have the id
  addFullSize();
  const when = element("when");
  const takenAt = Date.parse(find(when, "time").dateTime);
  const update = () => writeMoment(when, takenAt, serverNow());
  update();
  setInterval(update, 10_000);
}
