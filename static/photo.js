/* The page of one photo: its time in the visitor's own way, the link to copy, and the arrow keys. */

import { CopyLink } from "./clipboard.js";
import { Picture } from "./picture.js";
import { Speech } from "./speech.js";
import { writeMoment } from "./time.js";

document.documentElement.classList.add("js");
const element = (id) => document.getElementById(id);
const frame = element("frame");
const { captured_at, page } = frame.dataset;
const speech = new Speech(element("speech"));

new Picture(frame);
new CopyLink(
  { button: element("copy"), label: element("copy-label"), field: element("link-field") },
  () => page,
  (sentence) => speech.say(sentence),
);

const bytes = element("bytes");
bytes.textContent = new Intl.NumberFormat(undefined, { style: "unit", unit: "kilobyte", maximumFractionDigits: 0 }).format(
  bytes.dataset.bytes / 1000,
);

const writeTime = () => writeMoment(element("when"), Date.parse(captured_at), Date.now());
writeTime();
setInterval(writeTime, 10_000);

const KEYS = { ArrowLeft: "newer", ArrowRight: "older", Escape: "live" };

document.addEventListener("keydown", (event) => {
  const id = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
  if (!id || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.matches("input")) return;
  element(id)?.click();
});
