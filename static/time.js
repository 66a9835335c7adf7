/* Exact and relative times in the visitor's language and time zone. Arguments are milliseconds since 1970. */

import { create } from "./page.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT_CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const STEPS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** @param {number} one @param {number} other */
const isSameDay = (one, other) => new Date(one).toDateString() === new Date(other).toDateString();

/**
 * Return the time of day, with the date if it is not today.
 * @param {number} at @param {number} now
 */
export const exactTime = (at, now) => (isSameDay(at, now) ? CLOCK : DAY_AND_CLOCK).format(at);

/**
 * Return the same without seconds, for "since".
 * @param {number} at @param {number} now
 */
export const shortTime = (at, now) => (isSameDay(at, now) ? SHORT_CLOCK : DAY_AND_CLOCK).format(at);

/** Return the full date, time and zone, for a tooltip. */
export const fullTime = (/** @type {number} */ at) => FULL.format(at);

/**
 * Return how long ago a time was; in steps of ten seconds at first, so that it does not flicker.
 * @param {number} at @param {number} now
 */
function relativeTime(at, now) {
  const ago = Math.max(0, now - at);
  for (const [unit, length] of STEPS) if (ago >= length) return RELATIVE.format(-Math.floor(ago / length), unit);
  return RELATIVE.format(-Math.floor(ago / 10_000) * 10, "second");
}

/**
 * Write a `<time>` in the visitor's language and time zone.
 * @param {HTMLTimeElement} time @param {number} now
 */
export function writeTime(time, now) {
  const at = Date.parse(time.dateTime);
  const text = exactTime(at, now);
  if (time.textContent !== text) [time.textContent, time.title] = [text, fullTime(at)];
}

/**
 * Fill an element with a `<time>`: exact, and how long ago.
 * @param {Element} element @param {number} at @param {number} now
 */
export function writeMoment(element, at, now) {
  let time = element.querySelector("time");
  if (!time) element.replaceChildren((time = document.createElement("time")));
  const iso = new Date(at).toISOString();
  if (time.dateTime !== iso) time.dateTime = iso;
  writeTime(time, now);
  let ago = element.querySelector(".ago");
  if (!ago) element.append((ago = create("span", { className: "ago" })));
  const since = relativeTime(at, now);
  if (ago.textContent !== since) ago.textContent = since;
}
