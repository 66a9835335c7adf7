/*
 * The gallery goes on by itself. What stands in it is always what the server says: its own pages are fetched again, and
 * their tiles merged by the numbers of their captures. So new photos come, gaps after a lost connection heal, and older
 * photos follow when their link comes near, all in one way; the push only says when. One page is read after the other.
 *
 * New photos come in for whoever is at the top. Whoever looks further down is told of them, and nothing moves there.
 * Whoever was logged out keeps what is here, and is told the way to log in.
 */

import { DogClient } from "./dog-client.js";
import { LOGGED_OUT, asksToLogIn, createLoginLink } from "./login.js";
import { Speech } from "./speech.js";

const NEAR = "900px"; // below the window: there the link to older photos has them fetched
const PATIENCE = 20_000; // ms for one page
const FEW = 300; // photos that may be new after a loss, for the others to be looked at again nonetheless

document.documentElement.classList.add("js");
const element = (id) => document.getElementById(id);
const album = element("album");
const speech = new Speech(element("speech"));
const dog = new DogClient(new URL(document.body.dataset.root, location.href));
const { before, camera } = album.dataset;

const gone = new Set(); // ids: a page that was asked for earlier may still name them
let queue = Promise.resolve();
let isDue = false; // the newest are about to be read
let isLoading = false; // older ones are being read

// ---- a page and its tiles

const tilesOf = (part) => [...part.querySelectorAll(".tiles > li")];
const linkOf = (tile) => tile.firstElementChild;
const idOf = (tile) => linkOf(tile).dataset.snapshot;
const captureOf = (tile) => Number(linkOf(tile).dataset.capture); // a newer photo has a higher one
const sectionOf = (tile) => tile.closest(".day");
const findTile = (snapshot) => album.querySelector(`.tiles [data-snapshot="${snapshot}"]`)?.parentElement;
const write = (count, kind) => `${count} ${kind} photo${count === 1 ? "" : "s"}`;

/** Whether the newest photos are where the visitor looks. */
const isAtTop = () => element("choice").getBoundingClientRect().bottom > 0;

async function fetchPage(address) {
  const response = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE) });
  if (asksToLogIn(response)) tellLoggedOut();
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!page.getElementById("album")) throw new Error(`${address} is no gallery`);
  const tiles = tilesOf(page).filter((tile) => !gone.has(idOf(tile)));
  return { page, tiles, older: page.getElementById("older") };
}

function tellLoggedOut() {
  if (element("out")) return;
  const text = document.createElement("p");
  text.textContent = `${LOGGED_OUT}.`;
  const notice = document.createElement("div");
  notice.id = "out";
  notice.className = "notice";
  notice.append(text, createLoginLink());
  album.append(notice);
  speech.say(`${LOGGED_OUT}. Log in to continue.`);
}

const fetchOwnPage = () => fetchPage(location.pathname + location.search);

/** After what was asked before. What goes wrong is let be: the next `hello`, or coming near again, asks anew. */
function enqueue(task) {
  queue = queue.then(task).catch(() => {});
  return queue;
}

// ---- what comes and goes

/** Put those that are new where they belong, and mark what is pinned by now. How many were new. */
function merge(tiles) {
  const here = tilesOf(album);
  let added = 0;
  for (const tile of tiles) {
    const known = findTile(idOf(tile));
    if (known) {
      mark(known, tile);
      continue;
    }
    const after = here.findIndex((other) => captureOf(other) < captureOf(tile));
    const at = after < 0 ? here.length : after;
    place(tile, here[at - 1], here[at]);
    here.splice(at, 0, tile);
    added += 1;
  }
  return added;
}

/** Between its neighbours; their days go on where it is of one of them. */
function place(tile, newer, older) {
  const section = sectionOf(tile);
  const isOfDay = (other) => other && sectionOf(other).dataset.day === section.dataset.day;
  if (isOfDay(older)) older.before(tile);
  else if (isOfDay(newer)) newer.after(tile);
  else {
    const day = section.cloneNode(true);
    day.querySelector(".tiles").replaceChildren(tile);
    if (newer) sectionOf(newer).after(day);
    else if (older) sectionOf(older).before(day);
    else (element("older")?.parentElement ?? element("speech")).before(day);
  }
}

function mark(tile, fresh) {
  const [link, { dataset, lastElementChild }] = [linkOf(tile), linkOf(fresh)];
  if (link.dataset.pinned === dataset.pinned) return;
  link.querySelector(".pinned")?.remove();
  delete link.dataset.pinned;
  if (!dataset.pinned) return;
  link.dataset.pinned = dataset.pinned;
  link.append(lastElementChild);
}

/** Take them away, and days that are empty then. The focus goes to a neighbour, and what is looked at stays in place. */
function remove(tiles) {
  if (!tiles.length) return;
  const left = tilesOf(album).filter((tile) => !tiles.includes(tile));
  const focused = tiles.find((tile) => tile.contains(document.activeElement));
  const heir = focused && (left.find((tile) => captureOf(tile) < captureOf(focused)) ?? left.at(-1));
  const seen = left.find((tile) => tile.getBoundingClientRect().bottom > 0);
  const top = seen?.getBoundingClientRect().top;
  const days = new Set(tiles.map(sectionOf));
  for (const tile of tiles) tile.remove();
  for (const day of days) if (!tilesOf(day).length) day.remove();
  if (seen && !isAtTop()) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
  if (focused) (heir ? linkOf(heir) : element("choice").querySelector("select, input")).focus({ preventScroll: true });
}

/** Those that the server would have named in its page, had it them still; the page before it reached to `from`. */
function findMissing({ tiles, older }, from = Infinity) {
  const named = new Set(tiles.map(idOf));
  const until = older ? Math.min(...tiles.map(captureOf)) : -Infinity;
  return tilesOf(album).filter((tile) => captureOf(tile) < from && captureOf(tile) >= until && !named.has(idOf(tile)));
}

/** The end as that of this page, which is now the last: a link to older photos, or that there are none at all. */
function end({ page }) {
  for (const id of ["older", "none"]) {
    const [old, fresh] = [element(id), page.getElementById(id)];
    if (!fresh) old?.closest("p").remove();
    else if (!old) element("speech").before(fresh.closest("p"));
    else if (fresh.href) old.href = fresh.href;
  }
  watchLink();
}

// ---- the newest

function readNewest() {
  if (isDue) return;
  isDue = true;
  enqueue(async () => {
    isDue = false;
    if (document.hidden) return; // it is read when the page is seen again
    const fetched = await fetchOwnPage();
    if (fetched.older && !fetched.tiles.length) return readNewest(); // all that it names were deleted meanwhile
    const news = fetched.tiles.filter((tile) => !findTile(idOf(tile)));
    const wasEmpty = !tilesOf(album).length;
    remove(findMissing(fetched));
    if (wasEmpty || isAtTop()) bringIn(fetched, news);
    else announce(news.length, news.length === fetched.tiles.length && fetched.older !== null);
  });
}

/** Merge the first page. Where it knows nothing of what is here, more than it was missed: the gallery begins anew. */
function bringIn(fetched, news) {
  const here = tilesOf(album);
  merge(fetched.tiles);
  if (news.length === fetched.tiles.length) {
    remove(here);
    end(fetched);
  }
  announce(0);
  if (news.length) speech.say(`${write(news.length, "new")}.`);
}

/** Tell of new photos that wait at the top, and may be more than are known. */
function announce(count, mayBeMore = false) {
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

/** After events were lost: what is there no more goes, as far down as the gallery has been read. */
function readAll() {
  enqueue(async () => {
    const most = tilesOf(album).length + FEW;
    let fetched = await fetchOwnPage();
    let from = Infinity;
    for (let read = fetched.tiles.length; ; read += fetched.tiles.length) {
      remove(findMissing(fetched, from));
      from = Math.min(from, ...fetched.tiles.map(captureOf));
      const last = tilesOf(album).at(-1);
      if (!fetched.older || !last || captureOf(last) >= from || read > most) return;
      fetched = await fetchPage(fetched.older.href);
    }
  });
}

// ---- older ones

async function appendOlder() {
  const fetched = await fetchPage(element("older").href);
  const added = merge(fetched.tiles);
  end(fetched);
  if (added) speech.say(`${write(added, "older")}.`);
}

function readOlder() {
  const link = element("older");
  if (isLoading || !link || link === document.activeElement) return; // who is on it may follow it
  isLoading = true;
  enqueue(() => appendOlder().finally(() => (isLoading = false)));
}

const nearing = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && readOlder(), {
  rootMargin: `0px 0px ${NEAR} 0px`,
});

/** Have it told anew whether the link is near. */
function watchLink() {
  nearing.disconnect();
  if (element("older")) nearing.observe(element("older"));
}

// ---- the place, for whoever comes back

history.scrollRestoration = "manual";
if (!history.state?.gallery) history.replaceState({ gallery: String(Math.random()) }, "");
const KEY = `dog gallery ${history.state.gallery}`;

/** The photo that has the focus, or the first that is seen, and where in the window it is; null at the very top. */
function findPlace() {
  const bar = document.querySelector(".bar").getBoundingClientRect().bottom;
  const isSeen = ({ bottom, top }) => bottom > bar && top < innerHeight;
  const seen = tilesOf(album).filter((tile) => isSeen(tile.getBoundingClientRect()));
  const focused = seen.find((tile) => tile.contains(document.activeElement));
  const tile = focused ?? seen[0];
  if (!tile || (isAtTop() && !focused)) return null;
  return { capture: captureOf(tile), top: tile.getBoundingClientRect().top, isFocused: Boolean(focused) };
}

/** Read on until it is there, unless the visitor goes elsewhere meanwhile. Where its photo is gone, the next one is it. */
async function returnTo({ capture, top, isFocused }) {
  const began = scrollY;
  const find = () => tilesOf(album).find((tile) => captureOf(tile) <= capture);
  while (!find() && element("older")) await appendOlder();
  const tile = find() ?? tilesOf(album).at(-1);
  if (!tile || scrollY !== began) return;
  if (isFocused) linkOf(tile).focus({ preventScroll: true });
  scrollBy({ top: tile.getBoundingClientRect().top - top, behavior: "instant" });
}

try {
  const place = JSON.parse(sessionStorage.getItem(KEY));
  if (place) enqueue(() => returnTo(place));
  addEventListener("pagehide", () => sessionStorage.setItem(KEY, JSON.stringify(findPlace())));
} catch {
  // a browser that keeps nothing for us
}

// ---- the choice of camera and day: at once by a pointer; what is typed is applied by Enter, or by going on from it

const choice = element("choice");
let isTyping = false;
let isChanged = false;

function apply() {
  if (isChanged) choice.requestSubmit();
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

// ---- what tells that something is to be read

dog.addEventListener("hello", () => {
  readNewest();
  watchLink();
});
dog.addEventListener("missed", readAll);
dog.addEventListener("statechange", ({ detail: { code } }) => code === 4401 && tellLoggedOut());
dog.addEventListener("ready", ({ detail }) => {
  if (!before && (!camera || detail.camera === camera)) readNewest();
});
dog.addEventListener("removed", ({ detail: { snapshots, reason } }) => {
  for (const snapshot of snapshots) gone.add(snapshot);
  const tiles = snapshots.map(findTile).filter(Boolean);
  remove(tiles);
  const how = reason === "retention" ? (tiles.length === 1 ? "was removed to make room" : "were removed to make room") : tiles.length === 1 ? "was deleted" : "were deleted";
  if (tiles.length) speech.say(`${tiles.length} photo${tiles.length === 1 ? "" : "s"} ${how}.`);
  if (!tilesOf(album).length || !element("newest").hidden) readNewest();
});
document.addEventListener("visibilitychange", () => document.hidden || readNewest());
album.addEventListener("focusout", ({ target }) => target.id === "older" && watchLink());

element("newest").addEventListener("click", () => scrollTo({ top: 0, behavior: "instant" }));
new IntersectionObserver(() => isAtTop() && !element("newest").hidden && readNewest()).observe(choice);
watchLink();
