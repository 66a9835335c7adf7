/* Exact and relative times in the visitor's language and time zone. Arguments are milliseconds since 1970. */

import { create, find } from "./page.js";
import { serverNow } from "./server-clock.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT_CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const SHORT_DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** A time as the server writes it into a text (`utc` in templates/parts.html). */
const UTC_TEXT = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g;

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

/** Return a text of the server with its times in the visitor's language and time zone. */
const localText = (/** @type {string} */ text) =>
  text.replace(UTC_TEXT, (_, day, clock) => exactTime(Date.parse(`${day}T${clock}Z`), serverNow()));

/** Write the times in a part of the page, and in the descriptions of its images, in the visitor's language and time zone. */
export function localize(/** @type {ParentNode} */ part) {
  for (const time of part.querySelectorAll("time")) writeTime(time, serverNow());
  for (const image of part.querySelectorAll("img")) image.alt = localText(image.alt);
}

/** Return a day such as 2026-11-22 in the visitor's language. */
export const dayText = (/** @type {string} */ day) => DAY.format(Date.parse(`${day}T00:00`));

/**
 * Write a `<time>` under the heading of a day: with the date only if the visitor has another one.
 * @param {HTMLTimeElement} time @param {string} day
 */
export function writeTimeOfDay(time, day) {
  const at = Date.parse(time.dateTime);
  const format = isSameDay(at, Date.parse(`${day}T00:00`)) ? CLOCK : SHORT_DAY_AND_CLOCK;
  [time.textContent, time.title] = [format.format(at), fullTime(at)];
}

/** Localize the title and the main part of this page. */
export function localizePage() {
  document.title = localText(document.title);
  const main = find(document, "main");
  localize(main);
  for (const detail of main.querySelectorAll(".detail")) detail.textContent = localText(detail.textContent ?? "");
}

/**
 * Write a `<time>` in the visitor's language and time zone.
 * @param {HTMLTimeElement} time @param {number} now
 */
function writeTime(time, now) {
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
