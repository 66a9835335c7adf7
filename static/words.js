/* The texts of the live page, made from the state. Nothing here uses the document. */

import { LOGGED_OUT } from "./login.js";
import { cameraPhase, currentCamera, isLoggedOut, isOwn, latestOwn, latestPhoto, mayPress } from "./state.js";
import { exactTime, shortTime } from "./time.js";

const seconds = (/** @type {number} */ ms) => `${Math.max(1, Math.ceil(ms / 1000))} s`;

/**
 * Return the {text, detail} of the status line.
 * @param {State} state @param {number} now
 */
export function statusOf(state, now) {
  const { connection, press } = state;
  if (isLoggedOut(state)) return { text: LOGGED_OUT, detail: "" };
  if (connection.state === "refused")
    return { text: "Not live", detail: "The server does not allow this page to connect." };
  if (connection.state === "lost") {
    return { text: "Not live — reconnecting…", detail: `since ${shortTime(connection.since, now)}` };
  }
  if (press && !press.outcome) return { text: "Pressed…", detail: "" };
  const camera = currentCamera(state);
  const { phase, left } = cameraPhase(camera, now);
  if (phase === "capturing") {
    if (press?.outcome === "queued" && press.capture !== camera.capture) {
      return { text: "Taking a photo…", detail: "yours is next" };
    }
    return { text: press ? "Taking your photo…" : "Taking a photo…", detail: "" };
  }
  if (phase === "offline") {
    const since = camera.since ? ` since ${shortTime(camera.since, now)}` : "";
    const isShown = state.notice?.text === camera.reason;
    return { text: `Camera offline${since}`, detail: isShown ? "" : (camera.reason ?? "") };
  }
  if (press) {
    const wait = Math.max(left, (press.startsAt ?? 0) - now);
    return { text: wait > 0 ? `Your photo in ${seconds(wait)}` : "Your photo is next", detail: "" };
  }
  if (phase === "unknown") return { text: "No camera", detail: "" };
  if (!state.complete) return { text: "Part of this page did not load", detail: "" };
  if (!mayPress(state)) return { text: "Watching", detail: "" };
  return { text: phase === "cooling" ? `Ready in ${seconds(left)}` : "Ready", detail: "" };
}

export const badgeOf = (/** @type {State} */ { connection }) =>
  ({ connecting: "Connecting", live: "Live", lost: "Not live", refused: "Not live" })[connection.state];

/** Return the text in place of the live view while it has no frame. */
export function liveTextOf(/** @type {State} */ state) {
  if (currentCamera(state)?.state === "offline") return "The camera is offline. The live view comes back by itself.";
  if (isLoggedOut(state)) return LOGGED_OUT;
  return state.connection.state === "live" ? "Waiting for the camera’s next picture…" : "Not live — reconnecting…";
}

/**
 * Return the mark on the live view.
 * @param {State} state @param {number} now
 */
export function videoOf({ video }, now) {
  if (video.state === "lost") return "Live view lost — reconnecting…";
  return video.state === "stale" ? `No new picture since ${exactTime(video.since, now)}` : "Live view";
}

/** Return a note about a photo's quality; "" if it is good. */
export function qualityOf(/** @type {Snapshot} */ { quality }) {
  if (!quality) return "";
  if (quality.verdict === "black") return "It is dark: the picture is black";
  if (!quality.retaken) return "";
  const times = quality.retaken === 1 ? "once" : `${quality.retaken} times`;
  const found = (quality.found ?? []).map((fault) => FAULTS[fault] ?? fault).join(", ");
  return `Taken again ${times}${found && ` (${found})`}`;
}

/** @type {Record<string, string>} */
const FAULTS = { damaged: "cut off", black: "black", frozen: "frozen" };

/** Return the label of the button to the newest photo; "" if that is shown. */
export function newestOf(/** @type {State} */ state) {
  const newest = latestPhoto(state);
  if (state.live && state.unseen && isOwn(state, newest)) return "See your photo";
  if (state.live && !state.unseen) return "";
  if (!newest || (!state.live && newest.snapshot === state.shown?.snapshot)) return "";
  if (state.unseen) return state.unseen === 1 ? "1 new photo" : `${state.unseen} new photos`;
  return "Newest photo";
}

/** @param {State} state @param {number} now */
export function titleOf(state, now) {
  const { name } = state;
  if (isLoggedOut(state)) return `Logged out · ${name}`;
  if (["lost", "refused"].includes(state.connection.state)) return `Not live · ${name}`;
  const { phase } = cameraPhase(currentCamera(state), now);
  if (phase === "capturing") return `Taking a photo… · ${name}`;
  if (phase === "offline") return `Camera offline · ${name}`;
  return state.unseen ? `(${state.unseen}) ${name}` : name;
}

/** @param {Snapshot} photo @param {number} now */
export const altOf = (photo, now) =>
  `Photo by the camera ${photo.camera}, taken at ${exactTime(Date.parse(photo.captured_at), now)}`;

/**
 * Return what a screen reader announces after a change; "" for nothing. Countdowns are not announced.
 * @param {State} before @param {State} after @param {number} now
 */
export function announcementOf(before, after, now) {
  const camera = cameraNews(before, after, now);
  const isSaid = after.notice === before.notice || (after.notice && camera.includes(after.notice.text));
  return [
    connectionNews(before, after),
    roleNews(before, after),
    camera,
    liveNews(before, after),
    after.press?.outcome === "queued" && before.press?.outcome !== "queued" ? "Your photo is next." : "",
    isSaid ? "" : after.notice?.text,
    photoNews(before, after, now),
  ]
    .filter(Boolean)
    .join(" ");
}

/** @param {State} before @param {State} after */
function roleNews(before, after) {
  if (isLoggedOut(after) || isLoggedOut(before) || mayPress(before) === mayPress(after)) return "";
  return mayPress(after) ? "You can take photos now." : "You can only watch now.";
}

/** @param {State} before @param {State} after */
function connectionNews({ connection: before }, { connection: after }) {
  if (before.state === after.state) return "";
  if (isLoggedOut({ connection: after })) return `${LOGGED_OUT}. Log in to continue.`;
  if (after.state === "lost") return "Not live. Reconnecting.";
  if (after.state === "refused") return "Not live. The server does not allow this page to connect.";
  return before.state === "lost" ? "Live again." : "";
}

/** @param {State} before @param {State} after @param {number} now */
function cameraNews(before, after, now) {
  const was = cameraPhase(currentCamera(before), now).phase;
  const is = cameraPhase(currentCamera(after), now).phase;
  if (is === was) return "";
  if (is === "capturing") return after.press ? "Taking your photo." : "Taking a photo.";
  if (is === "offline") return `The camera is offline. ${currentCamera(after).reason ?? ""}`.trim();
  return was === "offline" ? "The camera is back." : "";
}

/** @param {State} before @param {State} after */
function liveNews(before, after) {
  if (after.live !== before.live) return after.live ? "Live view on. It is not saved." : "Live view off.";
  if (after.video.state === before.video.state) return "";
  return VIDEO_NEWS[after.video.state];
}

const VIDEO_NEWS = {
  live: "The live view is back.",
  stale: "The live view has no new picture.",
  lost: "The live view is lost. Reconnecting.",
};

/** @param {State} before @param {State} after @param {number} now */
function photoNews(before, after, now) {
  const { shown } = after;
  const newest = latestPhoto(after);
  const at = (/** @type {Snapshot} */ photo) => exactTime(Date.parse(photo.captured_at), now);
  const own = latestOwn(after) === latestOwn(before) ? null : latestOwn(after);
  if (shown && own === shown.snapshot) {
    const quality = qualityOf(shown);
    return `Your photo is ${after.live ? "in the strip" : "here"}, taken at ${at(shown)}.${quality && ` ${quality}.`}`;
  }
  if (newest && newest.capture > (latestPhoto(before)?.capture ?? -1)) {
    return after.following ? `New photo, taken at ${at(newest)}.` : `${newestOf(after)}.`;
  }
  if (shown && shown.snapshot !== before.shown?.snapshot) {
    const place = after.photos.findIndex(({ snapshot }) => snapshot === shown.snapshot);
    const whose = isOwn(after, shown) ? "Your photo" : "Photo";
    return place < 0 ? "" : `${whose}, ${place + 1} of ${after.photos.length}, taken at ${at(shown)}.`;
  }
  return "";
}
