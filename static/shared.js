/* The page of a share link: the photo as large as the window, and local times. */

import { Picture } from "./picture.js";
import { element, find } from "./page.js";
import { exactTime, fullTime, writeMoment } from "./time.js";

document.documentElement.classList.add("js");
new Picture(element("frame"));

const when = element("when");
const takenAt = Date.parse(find(when, "time").dateTime);
const writeTime = () => writeMoment(when, takenAt, Date.now());
writeTime();
setInterval(writeTime, 10_000);

const until = find(element("until"), "time");
const endsAt = Date.parse(until.dateTime);
[until.textContent, until.title] = [exactTime(endsAt, Date.now()), fullTime(endsAt)];
