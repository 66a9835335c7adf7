/*
 * The live page, put together. What the server says and what the visitor does go into the state (state.js); each change
 * is written to the page (view.js), spoken where it is worth hearing, and followed up here: the cookie, the pictures
 * that were missed, a press that has to be said again.
 */

import { Cameras } from "./cameras.js";
import { CopyLink } from "./clipboard.js";
import { forgetSnapshots, rememberSnapshot } from "./cookie.js";
import { DogClient, randomRequest } from "./dog-client.js";
import { Shutter } from "./shutter.js";
import { Speech } from "./speech.js";
import { act, initialState, mayPress, receive, snapshotOf } from "./state.js";
import { Strip } from "./strip.js";
import { View } from "./view.js";
import { announcementOf } from "./words.js";

const TICK = 250; // ms; a countdown in whole seconds and its ring
const HEARD = ["hello", "reply", "error", "viewers", "capturing", "ready", "failed", "camera", "removed"];
const UNANSWERED = 5000; // ms after which a press may be said anew
const INTERACTIVE = "a, button, input, select, textarea, summary, [contenteditable], [tabindex]";

document.documentElement.classList.add("js");
const element = (id) => document.getElementById(id);
const root = new URL(document.body.dataset.root, location.href);
const speech = new Speech(element("speech"));

element("for-capture")?.replaceWith(element("for-capture").content); // for when the visitor may press

const strip = new Strip(element("strip"), element("strip-list"), (snapshot) => change(act, { act: "show", snapshot }));
const shutter = new Shutter(element("press"), element("shutter"), press);
const { dataset } = element("frame");
const shown = dataset.snapshot ? snapshotOf(dataset) : null;
const copyLink = new CopyLink(
  { button: element("copy"), label: element("copy-label"), field: element("link-field") },
  () => element("open").href,
  (sentence) => speech.say(sentence),
);
const view = new View({ shutter, strip, copyLink, cameras: new Cameras(element("cameras")), shown });

let state = initialState({
  photos: strip.read(),
  shown,
  own: shown && dataset.mine === "yes" ? [shown.snapshot] : [],
  camera: element("booth").dataset.camera,
  name: document.title,
  role: element("booth").dataset.role,
  stripLength: strip.length,
});

const dog = new DogClient(root);
for (const type of HEARD) dog.addEventListener(type, ({ detail }) => change(receive, detail));
dog.addEventListener("hello", catchUp);
dog.addEventListener("missed", () => state.missed || fetchPhotos());
dog.addEventListener("removed", ({ detail }) => forgetSnapshots(detail.snapshots, root));
dog.addEventListener("statechange", ({ detail }) => {
  if (detail.state === "lost") change(act, { act: "lost" });
  if (detail.state === "refused") change(act, { act: "refused", code: detail.code });
});
let pressing = new AbortController(); // ends the saying again of the last press

function change(reduce, what) {
  const before = state;
  const now = Date.now();
  state = reduce(state, what, now);
  if (state === before) return;
  view.write(state, now);
  speech.say(announcementOf(before, state, now));
  const own = state.own.at(-1);
  if (own && own !== before.own.at(-1)) rememberSnapshot(own, root);
  if (state.live !== before.live) history.replaceState(null, "", state.live ? "#live" : location.pathname + location.search);
  const isShorter = before.photos.length === strip.length && state.photos.length < strip.length;
  if (isShorter || (state.wanted && state.wanted !== before.wanted)) fetchPhotos();
}

function press() {
  if (!mayPress(state)) return;
  const heard = state.press;
  if (heard && (heard.outcome || Date.now() - heard.at < UNANSWERED)) return;
  const early = state.connection.state === "connecting"; // said as soon as the connection is there
  if (!early && dog.state !== "live") {
    change(act, { act: "unsent" });
    return;
  }
  const request = randomRequest();
  pressing.abort();
  pressing = new AbortController();
  dog.capture({ request, camera: state.camera, signal: pressing.signal }).catch(() => {}); // the events tell
  change(act, { act: "press", request });
}

/** What a `hello` leaves to do: photos that were missed, and a press that had its answer or is of a server that is gone. */
function catchUp() {
  if (state.missed) fetchPhotos();
  const { press: said } = state;
  if (!said || said.outcome || said.epoch !== state.epoch) pressing.abort();
}

async function fetchPhotos() {
  const asked = state.photos[0]?.capture ?? 0;
  try {
    const photos = await dog.snapshots({ limit: strip.length, camera: state.camera });
    change(act, { act: "photos", photos: photos.map(snapshotOf), asked });
  } catch {
    // The connection is gone again; its next `hello` asks anew.
  }
}

function turnLive(on) {
  if (element("live-view").hidden) return;
  change(act, { act: "live", on });
}

element("live-view").addEventListener("click", ({ detail, currentTarget }) => {
  if (detail) currentTarget.blur(); // by a pointer: Space takes a photo again
  turnLive(!state.live);
});
element("newest").addEventListener("click", () => change(act, { act: "newest" }));
element("dismiss").addEventListener("click", () => change(act, { act: "dismiss" }));

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
  const key = Object.hasOwn(KEYS, name) ? KEYS[name] : null;
  if (!key || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.isComposing) return;
  if (event.key === " " && (event.repeat || event.target.closest(INTERACTIVE))) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  key();
});

document.addEventListener("visibilitychange", () => change(act, { act: "seen", seen: !document.hidden }));

const readLost = () => change(act, { act: "complete", complete: !("lost" in document.documentElement.dataset) });
addEventListener("lostchange", readLost); // of lost.js

setInterval(() => view.write(state, Date.now()), TICK);
change(act, { act: "seen", seen: !document.hidden });
readLost();
if (location.hash === "#live") turnLive(true);
view.write(state, Date.now());
