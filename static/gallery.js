/*
 * The gallery updates itself. It fetches the server's pages again, one after the other, and merges their tiles by capture
 * number. New photos, gaps after a lost connection, and older photos near the end of the page all come in this way; the
 * push only says when.
 *
 * New photos are shown to a visitor at the top. A visitor further down sees their number, and nothing moves. A visitor
 * who was logged out keeps the photos, and sees the link to log in.
 */

import { DogClient } from "./dog-client.js";
import { LOGGED_OUT, asksToLogIn, createLoginLink } from "./login.js";
import { create, element, find, rootUrl, timeoutSignal } from "./page.js";
import { Speech } from "./speech.js";
import { dayText, localize, writeTimeOfDay } from "./time.js";

const LOAD_MARGIN = "900px"; // older photos are loaded when their link is this close to the window
const FETCH_TIMEOUT_MS = 20_000;
const MAX_NEW_PHOTOS = 300; // after missed events, reload everything if at most so many photos are new

document.documentElement.classList.add("js");
const album = element("album");
const speech = new Speech(element("speech"));
const dog = new DogClient(rootUrl());
const choice = element("choice");
const { before, camera } = album.dataset;

/** @type {Set<string>} */
const gone = new Set(); // ids of removed photos: a page that was requested before may still have them
let queue = Promise.resolve();
let isNewestQueued = false;
let isLoadingOlder = false;

// ---- a page and its tiles

const tilesOf = (/** @type {ParentNode} */ part) => [...part.querySelectorAll(".tiles > li")];
const linkOf = (/** @type {Element} */ tile) => find(tile, "a");
const idOf = (/** @type {Element} */ tile) => linkOf(tile).dataset.snapshot;
const captureOf = (/** @type {Element} */ tile) => Number(linkOf(tile).dataset.capture); // a newer photo has a higher one
const sectionOf = (/** @type {Element} */ tile) => /** @type {HTMLElement} */ (tile.closest(".day"));
const findTile = (/** @type {string} */ snapshot) =>
  album.querySelector(`.tiles [data-snapshot="${snapshot}"]`)?.parentElement;
/** @param {number | string} count @param {string} kind */
const write = (count, kind) => `${count} ${kind} photo${count === 1 ? "" : "s"}`;

/** Return true if the visitor is at the newest photos. */
const isAtTop = () => choice.getBoundingClientRect().bottom > 0;

async function fetchPage(/** @type {string} */ url) {
  const response = await fetch(url, {
    headers: { Accept: "text/html" },
    signal: timeoutSignal(FETCH_TIMEOUT_MS),
  });
  if (asksToLogIn(response)) showLoggedOut();
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!page.getElementById("album")) throw new Error(`${url} is no gallery`);
  const older = /** @type {HTMLAnchorElement | null} */ (page.getElementById("older"));
  const tiles = tilesOf(page).filter((tile) => !gone.has(idOf(tile)));
  return { page, tiles, older };
}

function showLoggedOut() {
  if (element("out")) return;
  const text = create("p", {}, `${LOGGED_OUT}.`);
  album.append(create("div", { id: "out", className: "notice" }, text, createLoginLink()));
  speech.say(`${LOGGED_OUT}. Log in to continue.`);
}

const fetchOwnPage = () => fetchPage(location.pathname + location.search);

/** Run a task after the earlier ones. Errors are ignored: the next `hello`, or the next scrolling, tries again. */
function enqueue(/** @type {() => Promise<void>} */ task) {
  queue = queue.then(task).catch(() => {});
  return queue;
}

// ---- adding and removing

/** Insert the new tiles in order, and update the pins of the others. Return the number of new ones. */
function merge(/** @type {Element[]} */ tiles) {
  const here = tilesOf(album);
  let added = 0;
  for (const tile of tiles) {
    const known = findTile(idOf(tile));
    if (known) {
      updatePin(known, tile);
      continue;
    }
    writeTimes(tile);
    const after = here.findIndex((other) => captureOf(other) < captureOf(tile));
    const at = after < 0 ? here.length : after;
    place(tile, here[at - 1], here[at]);
    here.splice(at, 0, tile);
    added += 1;
  }
  return added;
}

/** Write the times of a tile in the visitor's time zone, and the day above it in the visitor's language. */
function writeTimes(/** @type {Element} */ tile) {
  const { day } = sectionOf(tile).dataset;
  localize(tile);
  writeTimeOfDay(find(tile, "time"), day);
  find(sectionOf(tile), "h2 time").textContent = dayText(day);
}

/**
 * Insert a tile between its neighbours, in the day of one of them or in a new one.
 * @param {Element} tile @param {Element | undefined} newer @param {Element | undefined} older
 */
function place(tile, newer, older) {
  const section = sectionOf(tile);
  const isOfDay = (/** @type {Element} */ other) => sectionOf(other).dataset.day === section.dataset.day;
  if (older && isOfDay(older)) older.before(tile);
  else if (newer && isOfDay(newer)) newer.after(tile);
  else {
    const day = /** @type {HTMLElement} */ (section.cloneNode(true));
    find(day, ".tiles").replaceChildren(tile);
    if (newer) sectionOf(newer).after(day);
    else if (older) sectionOf(older).before(day);
    else (element("older")?.parentElement ?? element("speech")).before(day);
  }
}

/** @param {Element} tile @param {Element} fresh */
function updatePin(tile, fresh) {
  const link = linkOf(tile);
  const { pinned } = linkOf(fresh).dataset;
  if (link.dataset.pinned === pinned) return;
  link.querySelector(".pinned")?.remove();
  delete link.dataset.pinned;
  if (!pinned) return;
  link.dataset.pinned = pinned;
  link.append(find(fresh, ".pinned"));
}

/** Remove tiles and empty days. The focus moves to a neighbour, and the view does not scroll. */
function remove(/** @type {Element[]} */ tiles) {
  if (!tiles.length) return;
  const left = tilesOf(album).filter((tile) => !tiles.includes(tile));
  const focused = tiles.find((tile) => tile.contains(document.activeElement));
  const next = focused && (left.find((tile) => captureOf(tile) < captureOf(focused)) ?? left[left.length - 1]);
  const seen = left.find((tile) => tile.getBoundingClientRect().bottom > 0);
  const top = seen?.getBoundingClientRect().top ?? 0;
  const days = new Set(tiles.map(sectionOf));
  for (const tile of tiles) tile.remove();
  for (const day of days) if (!tilesOf(day).length) day.remove();
  if (seen && !isAtTop()) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
  if (focused) (next ? linkOf(next) : find(choice, "select, input")).focus({ preventScroll: true });
}

/**
 * Return the tiles that are missing in the server's page, which begins before the capture `from`.
 * @param {Fetched} page
 */
function findMissing({ tiles, older }, from = Infinity) {
  const named = new Set(tiles.map(idOf));
  const until = older ? Math.min(...tiles.map(captureOf)) : -Infinity;
  return tilesOf(album).filter((tile) => captureOf(tile) < from && captureOf(tile) >= until && !named.has(idOf(tile)));
}

/** Copy the end of this page, which is now the last: a link to older photos, or the text that there are no photos. */
function updateEnd(/** @type {Fetched} */ { page }) {
  for (const id of ["older", "none"]) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (!fresh) old?.closest("p")?.remove();
    else if (!old) element("speech").before(fresh.closest("p") ?? fresh);
    else if (old instanceof HTMLAnchorElement) old.href = /** @type {HTMLAnchorElement} */ (fresh).href;
  }
  watchLink();
}

// ---- the newest

function loadNewest() {
  if (isNewestQueued) return;
  isNewestQueued = true;
  enqueue(async () => {
    isNewestQueued = false;
    if (document.hidden) return; // it is loaded when the page is visible again
    const fetched = await fetchOwnPage();
    if (fetched.older && !fetched.tiles.length) return loadNewest(); // all its photos were deleted since
    const news = fetched.tiles.filter((tile) => !findTile(idOf(tile)));
    const wasEmpty = !tilesOf(album).length;
    remove(findMissing(fetched));
    if (wasEmpty || isAtTop()) mergeNewest(fetched, news);
    else announce(news.length, news.length === fetched.tiles.length && fetched.older !== null);
  });
}

/**
 * Merge the first page. If all its photos are new, there may be a gap below: keep only this page.
 * @param {Fetched} fetched @param {Element[]} news
 */
function mergeNewest(fetched, news) {
  const here = tilesOf(album);
  merge(fetched.tiles);
  if (news.length === fetched.tiles.length) {
    remove(here);
    updateEnd(fetched);
  }
  announce(0);
  if (news.length) speech.say(`${write(news.length, "new")}.`);
}

/** Show the number of new photos at the top. */
function announce(/** @type {number} */ count, mayBeMore = false) {
  const [button, label] = [element("newest"), element("newest-label")];
  const text = write(mayBeMore ? `${count}+` : count, "new");
  const isNews = count > 0 && (button.hidden || label.textContent !== text);
  const first = tilesOf(album)[0];
  if (!count && first && button.contains(document.activeElement)) linkOf(first).focus({ preventScroll: true });
  button.hidden = !count;
  if (!isNews) return;
  label.textContent = text;
  speech.say(`${text} at the top.`);
}

/** Reload all pages that are shown, to remove deleted photos after events were missed. */
function reloadAll() {
  enqueue(async () => {
    const most = tilesOf(album).length + MAX_NEW_PHOTOS;
    let fetched = await fetchOwnPage();
    let from = Infinity;
    for (let read = fetched.tiles.length; ; read += fetched.tiles.length) {
      remove(findMissing(fetched, from));
      from = Math.min(from, ...fetched.tiles.map(captureOf));
      const [last] = tilesOf(album).slice(-1);
      if (!fetched.older || !last || captureOf(last) >= from || read > most) return;
      fetched = await fetchPage(fetched.older.href);
    }
  });
}

// ---- older ones

async function appendOlder() {
  const link = element("older");
  if (!link) return;
  const fetched = await fetchPage(link.href);
  const added = merge(fetched.tiles);
  updateEnd(fetched);
  if (added) speech.say(`${write(added, "older")}.`);
}

function loadOlder() {
  const link = element("older");
  if (isLoadingOlder || !link || link === document.activeElement) return; // a focused link stays
  isLoadingOlder = true;
  enqueue(() => appendOlder().finally(() => (isLoadingOlder = false)));
}

const linkObserver = new IntersectionObserver((entries) => entries[entries.length - 1].isIntersecting && loadOlder(), {
  rootMargin: `0px 0px ${LOAD_MARGIN} 0px`,
});

/** Observe the link again, which reports its distance at once. */
function watchLink() {
  linkObserver.disconnect();
  const link = element("older");
  if (link) linkObserver.observe(link);
}

// ---- the scroll position, for visitors who come back

history.scrollRestoration = "manual";
if (!history.state?.gallery) history.replaceState({ gallery: String(Math.random()) }, "");
const PLACE_KEY = `dog gallery ${history.state.gallery}`;

/** Return the focused or the first visible photo, and its position; null at the top. */
function findPlace() {
  const bar = find(document, ".bar").getBoundingClientRect().bottom;
  const isSeen = (/** @type {DOMRect} */ { bottom, top }) => bottom > bar && top < innerHeight;
  const seen = tilesOf(album).filter((tile) => isSeen(tile.getBoundingClientRect()));
  const focused = seen.find((tile) => tile.contains(document.activeElement));
  const tile = focused ?? seen[0];
  if (!tile || (isAtTop() && !focused)) return null;
  return { capture: captureOf(tile), top: tile.getBoundingClientRect().top, isFocused: Boolean(focused) };
}

/**
 * Load older photos until this one, or the next older one, is there. Scroll to it unless the visitor scrolled.
 * @param {NonNullable<ReturnType<typeof findPlace>>} place
 */
async function returnTo({ capture, top, isFocused }) {
  const began = scrollY;
  const findPhoto = () => tilesOf(album).find((tile) => captureOf(tile) <= capture);
  while (!findPhoto() && element("older")) await appendOlder();
  const tile = findPhoto() ?? tilesOf(album).pop();
  if (!tile || scrollY !== began) return;
  if (isFocused) linkOf(tile).focus({ preventScroll: true });
  scrollBy({ top: tile.getBoundingClientRect().top - top, behavior: "instant" });
}

try {
  const place = JSON.parse(sessionStorage.getItem(PLACE_KEY) ?? "null");
  if (place) enqueue(() => returnTo(place));
  addEventListener("pagehide", () => sessionStorage.setItem(PLACE_KEY, JSON.stringify(findPlace())));
} catch {
  // session storage is disabled
}

// ---- the choice of camera and day: a pointer applies it at once, the keyboard by Enter or by leaving the form

let isTyping = false;
let isChanged = false;

function apply() {
  if (isChanged) find(choice, "button").click();
  isChanged = false;
}

choice.addEventListener("keydown", ({ key }) => {
  isTyping = key !== "Tab";
  if (key === "Enter") apply();
});
choice.addEventListener("pointerdown", () => (isTyping = false));
choice.addEventListener("change", () => {
  isChanged = true;
  if (!isTyping) apply();
});
choice.addEventListener("focusout", apply);
choice.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

// ---- events

dog.addEventListener("hello", () => {
  loadNewest();
  watchLink();
});
dog.addEventListener("missed", reloadAll);
dog.addEventListener("statechange", ({ detail: { code } }) => code === 4401 && showLoggedOut());
dog.addEventListener("ready", ({ detail }) => {
  if (!before && (!camera || detail.camera === camera)) loadNewest();
});
dog.addEventListener("removed", ({ detail: { snapshots, reason } }) => {
  for (const snapshot of snapshots) gone.add(snapshot);
  const tiles = snapshots.flatMap((snapshot) => findTile(snapshot) ?? []);
  remove(tiles);
  const how = reason === "retention" ? "removed to make room" : "deleted";
  const photos = tiles.length === 1 ? "photo was" : "photos were";
  if (tiles.length) speech.say(`${tiles.length} ${photos} ${how}.`);
  if (!tilesOf(album).length || !element("newest").hidden) loadNewest();
});
document.addEventListener("visibilitychange", () => document.hidden || loadNewest());
album.addEventListener("focusout", ({ target }) => target === element("older") && watchLink());

find(element("zone"), "span").textContent = "Days";
tilesOf(album).forEach(writeTimes);

element("newest").addEventListener("click", () => scrollTo({ top: 0, behavior: "instant" }));
new IntersectionObserver(() => isAtTop() && !element("newest").hidden && loadNewest()).observe(choice);
watchLink();
