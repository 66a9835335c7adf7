/*
 * The live page. The server's messages and the visitor's actions change the state (state.js). Each change is written to
 * the page (view.js) and announced to screen readers. This module also sets the cookie and fetches missed photos.
 */

import { CopyLink } from "./clipboard.js";
import { forgetSnapshots, rememberSnapshot } from "./cookie.js";
import { DogClient, randomRequest } from "./dog-client.js";
import { addFullSize } from "./full-size.js";
import { element, rootUrl } from "./page.js";
import { serverNow, setServerTime } from "./server-clock.js";
import { Speech } from "./speech.js";
import { act, initialState, latestOwn, mayPress, receive, snapshotOf } from "./state.js";
import { Strip } from "./strip.js";
import { localizePage } from "./time.js";
import { View } from "./view.js";
import { announcementOf } from "./words.js";

const REDRAW_INTERVAL_MS = 250; // for the countdown and its ring
const STATE_EVENTS = ["hello", "reply", "error", "viewers", "capturing", "ready", "failed", "camera", "removed"];
const MIN_REPEAT_MS = 5000; // an unanswered press may be repeated after this
const INTERACTIVE = "a, button, input, select, textarea, summary, [contenteditable], [tabindex]";

document.documentElement.classList.add("js");
const speech = new Speech(element("speech"));

const forCapture = element("for-capture");
forCapture?.replaceWith(forCapture.content); // its parts are shown after a login
localizePage();

const strip = new Strip(element("strip"), element("strip-list"), (snapshot) => change(act, { act: "show", snapshot }));
const { dataset } = element("frame");
const shown = dataset.snapshot ? snapshotOf(dataset) : null;
const view = new View(strip, shown, (video, age) => change(act, { act: "video", state: video, age }));
new CopyLink(element("copy"), () => element("open").href, speech);
addFullSize();

let state = initialState({
  photos: strip.read(),
  shown,
  own: shown && dataset.mine === "yes" ? [shown.snapshot] : [],
  camera: element("booth").dataset.camera,
  name: document.title,
  role: /** @type {Role} */ (element("booth").dataset.role),
  stripLength: strip.length,
});

const dog = new DogClient(rootUrl());
dog.addEventListener("hello", ({ detail }) => setServerTime(detail.at));
for (const type of STATE_EVENTS) dog.addEventListener(type, ({ detail }) => change(receive, detail));
dog.addEventListener("hello", catchUp);
dog.addEventListener("missed", () => state.missed || fetchPhotos());
dog.addEventListener("removed", ({ detail }) => forgetSnapshots(detail.snapshots));
dog.addEventListener("statechange", ({ detail }) => {
  if (detail.state === "lost") change(act, { act: "lost" });
  if (detail.state === "refused") change(act, { act: "refused", code: detail.code ?? null });
});
let pressAbort = new AbortController(); // keeps the client from sending the last press again

/**
 * @template What
 * @param {(state: State, what: What, now: number) => State} reduce
 * @param {What} what
 */
function change(reduce, what) {
  const before = state;
  const now = serverNow();
  state = reduce(state, what, now);
  if (state === before) return;
  view.write(state, now);
  speech.say(announcementOf(before, state, now));
  const own = latestOwn(state);
  if (own && own !== latestOwn(before)) rememberSnapshot(own);
  if (state.live !== before.live)
    history.replaceState(null, "", state.live ? "#live" : location.pathname + location.search);
  const isShorter = before.photos.length === strip.length && state.photos.length < strip.length;
  if (isShorter || (state.wanted && state.wanted !== before.wanted)) fetchPhotos();
}

function press() {
  if (!mayPress(state)) return;
  const last = state.press;
  if (last && (last.outcome || serverNow() - last.at < MIN_REPEAT_MS)) return;
  const early = state.connection.state === "connecting"; // the client sends it when it is connected
  if (!early && dog.state !== "live") {
    change(act, { act: "unsent" });
    return;
  }
  const request = randomRequest();
  pressAbort.abort();
  pressAbort = new AbortController();
  dog.capture({ request, camera: state.camera, signal: pressAbort.signal }).catch(() => {}); // the events have the result
  change(act, { act: "press", request });
}

/** Fetch missed photos after a `hello`, and do not repeat a press that was answered, or was sent to an earlier server. */
function catchUp() {
  if (state.missed) fetchPhotos();
  const { press: sent } = state;
  if (!sent || sent.outcome || sent.epoch !== state.epoch) pressAbort.abort();
}

async function fetchPhotos() {
  const asked = state.photos[0]?.capture ?? 0;
  try {
    const photos = await dog.snapshots({ limit: strip.length, camera: state.camera });
    change(act, { act: "photos", photos: photos.map(snapshotOf), asked });
  } catch {
    // The connection is lost again; the next `hello` repeats this.
  }
}

function turnLive(/** @type {boolean} */ on) {
  if (element("live-view").hidden) return;
  change(act, { act: "live", on });
}

element("live-view").addEventListener("click", ({ detail }) => {
  if (detail) element("live-view").blur(); // after a click, so that Space takes a photo
  turnLive(!state.live);
});
element("newest").addEventListener("click", () => change(act, { act: "newest" }));
element("dismiss").addEventListener("click", () => change(act, { act: "dismiss" }));

/** @type {Record<string, () => void>} */
const KEYS = {
  " ": press,
  v: () => turnLive(!state.live),
  ArrowLeft: () => change(act, { act: "walk", by: -1 }),
  ArrowRight: () => change(act, { act: "walk", by: 1 }),
  Home: () => change(act, { act: "newest" }),
  Escape: () => change(act, { act: state.notice ? "dismiss" : "newest" }),
};

document.addEventListener("keydown", (event) => {
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const key = Object.keys(KEYS).includes(name) ? KEYS[name] : null;
  const target = /** @type {Element} */ (event.target);
  if (!key || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.isComposing) return;
  if (event.key === " " && (event.repeat || target.closest(INTERACTIVE))) return;
  if (target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  key();
});

document.addEventListener("visibilitychange", () => change(act, { act: "seen", seen: !document.hidden }));

const updateComplete = () => change(act, { act: "complete", complete: !("lost" in document.documentElement.dataset) });
addEventListener("lostchange", updateComplete); // from lost.js

setInterval(() => view.write(state, serverNow()), REDRAW_INTERVAL_MS);
change(act, { act: "seen", seen: !document.hidden });
updateComplete();
if (location.hash === "#live") turnLive(true);
view.write(state, serverNow());

// A click, a tap, Enter and Space on the shutter all submit the form. It is sent to the server if a script failed before,
// or if this press fails.
element("press").addEventListener("submit", (event) => {
  press();
  event.preventDefault();
});
