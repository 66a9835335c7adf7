/* The page that a link opens: the photo as large as the window lets it be, and times in the visitor's own way. */

import { Picture } from "./picture.js";
import { exactTime, fullTime, writeMoment } from "./time.js";

document.documentElement.classList.add("js");
new Picture(document.getElementById("frame"));

const when = document.getElementById("when");
const takenAt = Date.parse(when.querySelector("time").dateTime);
const writeTime = () => writeMoment(when, takenAt, Date.now());
writeTime();
setInterval(writeTime, 10_000);

const until = document.querySelector("#until time");
const endsAt = Date.parse(until.dateTime);
[until.textContent, until.title] = [exactTime(endsAt, Date.now()), fullTime(endsAt)];
