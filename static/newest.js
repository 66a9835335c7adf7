/*
 * The page of a camera's share link: its newest photo, as large as the window or the frame of another site. It has no
 * push, which shows all cameras, so it asks for the newest photo. If the link has ended, the server's page says why.
 */

import { Picture } from "./picture.js";
import { element, find, timeoutSignal } from "./page.js";
import { serverNow } from "./server-clock.js";
import { writeMoment } from "./time.js";

const POLL_INTERVAL_MS = 5000;
const RESPONSE_TIMEOUT_MS = 20_000;
const FINAL_STATUSES = [404, 410];

document.documentElement.classList.add("js");
const frame = element("frame");
const when = element("when");
const { alt, src } = find(frame, "img");
const url = new URL(src);
let takenAt = find(when, "time").dateTime;
let isAsking = false;

const picture = new Picture(frame, takenAt, ({ snapshot }) => {
  takenAt = snapshot;
  write();
});
const write = () => writeMoment(when, Date.parse(takenAt), serverNow());

/** Show the newest photo; its time is enough to tell it from the shown one. */
async function update() {
  write();
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    const signal = timeoutSignal(RESPONSE_TIMEOUT_MS);
    const { status, headers } = await fetch(url, { method: "HEAD", cache: "no-store", signal });
    if (FINAL_STATUSES.includes(status)) location.reload();
    const newest = headers.get("X-Captured-At");
    if (newest) picture.show({ snapshot: newest, url: `${url.pathname}?at=${encodeURIComponent(newest)}` }, alt);
  } catch {
    // The server can't be reached; the next interval asks again.
  } finally {
    isAsking = false;
  }
}

write();
setInterval(update, POLL_INTERVAL_MS);
document.addEventListener("visibilitychange", update);
