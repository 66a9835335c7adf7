/*
 * The state of the live page, as one plain object, and its transitions. Nothing here uses the document, the network or
 * the clock. `receive` takes a message of the server, `act` an action on this side. Both return the next state and leave
 * the given one unchanged. Events that are repeated after a resume are ignored by their `seq`.
 *
 * Which photo is shown: a visitor who did not choose a photo in the strip is `following`, and sees every new photo. A
 * visitor who chose one keeps it, and sees the number of new ones. A press follows again, to show its photo. The live
 * view covers the photo, so photos that arrive during it count as new, too.
 */

const MAX_PRESS_WAIT_MS = 15_000; // an unanswered press is not sent again later: the photo would be a surprise

/** The frames of the live view: `live`, `stale` (no new one `since` this time), or `lost` (likewise, and not connected). */
const LIVE_VIDEO = /** @type {const} */ ({ state: "live", since: 0 });

const SNAPSHOT_TYPES = {
  camera: String,
  capture: Number,
  snapshot: String,
  url: String,
  page: String,
  thumbnail: String,
  captured_at: String,
  width: Number,
  height: Number,
  bytes: Number,
  content_type: String,
  color: (/** @type {string | undefined} */ color) => color ?? "", // unknown for old photos
};

/** Return a snapshot from an object with its fields: a `ready` event, a response, an element's dataset. */
export function snapshotOf(/** @type {Record<string, any>} */ source) {
  const fields = Object.entries(SNAPSHOT_TYPES).map(([field, type]) => [field, type(source[field])]);
  return /** @type {Snapshot} */ (Object.fromEntries(fields));
}

/**
 * Return the state before the first message. `photos` are those of the page, newest first; `stripLength` is their maximum
 * number.
 * @param {Partial<State> & Pick<State, "stripLength">} page
 * @returns {State}
 */
export function initialState(page) {
  const { photos = [], camera = null } = page;
  return {
    connection: { state: "connecting", since: 0, code: null },
    epoch: null,
    seq: 0,
    viewers: null,
    cameras: {}, // by name
    name: "", // title of the page
    role: null, // "view", "capture" or "manage"
    complete: true, // false while a script or a stylesheet is missing
    shown: null,
    live: false, // true while the live view is on
    video: LIVE_VIDEO,
    seen: true, // false while the page is hidden
    following: true,
    unseen: 0,
    own: [], // ids, the latest last
    wanted: null, // id of a photo to show as soon as it is in `photos`
    missed: false, // true if photos have to be fetched, because their events were missed
    press: null, // {request, camera, epoch, at, outcome, capture, startsAt}; before the first `hello`, it waits
    notice: null, // {kind, text, camera}; `camera` only for a failure
    ...page,
    camera: camera ?? photos[0]?.camera ?? null, // name of the shown one
    photos: photos.filter((photo) => camera === null || photo.camera === camera),
  };
}

// ---- selectors

export const currentCamera = (/** @type {State} */ state) => state.cameras[state.camera ?? ""] ?? null;

/** Return true if the visitor has to log in. */
export const isLoggedOut = (/** @type {Pick<State, "connection">} */ { connection }) => connection.code === 4401;

/** Return true if the visitor may take photos. */
export const mayPress = (/** @type {State} */ state) => state.role !== "view" && !isLoggedOut(state);

/** @param {State} state @param {Snapshot | null} photo */
export const isOwn = (state, photo) => photo !== null && state.own.includes(photo.snapshot);

/** Return the id of the visitor's latest photo. */
export const latestOwn = (/** @type {State} */ { own }) => own[own.length - 1];

export const latestPhoto = (/** @type {State} */ state) => state.photos[0] ?? null;

/** Return true if the live view should stream: it is on, the page is visible and connected, and the camera has one. */
export function streams(/** @type {State} */ state) {
  const camera = currentCamera(state);
  const isThere = camera !== null && camera.preview && camera.state !== "offline";
  return state.live && state.seen && state.connection.state === "live" && isThere;
}

/**
 * Return a camera's phase at `now` of the server's clock; `left` is in ms, `share` the part of the dead time that is left.
 * @param {Camera | null} camera @param {number} now
 * @returns {CameraPhase}
 */
export function cameraPhase(camera, now) {
  if (!camera) return { phase: "unknown", left: 0, share: 0 };
  if (camera.state === "offline") return { phase: "offline", left: 0, share: 0 };
  if (camera.state === "capturing") return { phase: "capturing", left: 0, share: 0 };
  const left = camera.readyAt - now;
  if (!(left > 0)) return { phase: "idle", left: 0, share: 0 };
  return { phase: "cooling", left, share: Math.min(1, left / Math.max(1, camera.deadTime)) };
}

// ---- messages of the server

/**
 * Return the state after a message. Unknown messages and fields change nothing.
 * @param {State} state @param {any} message @param {number} now
 */
export function receive(state, message, now) {
  if (!Object.keys(HANDLERS).includes(message.type)) return state;
  const handler = HANDLERS[/** @type {keyof Messages} */ (message.type)];
  if (Number.isInteger(message.seq) && message.type !== "hello") {
    if (message.seq <= state.seq) return state;
    state = { ...state, seq: message.seq };
  }
  return handler(state, message, now);
}

/** @type {MessageHandlers} */
const HANDLERS = {
  hello(state, hello, now) {
    const restarted = state.epoch !== null && hello.epoch !== state.epoch;
    const cameras = Object.fromEntries(hello.cameras.map((camera) => [camera.name, cameraOf(camera)]));
    /** @type {State} */
    let next = {
      ...state,
      connection: { state: "live", since: now, code: null },
      epoch: hello.epoch,
      // If a replay follows, the last `seq` still shows which events are new.
      seq: hello.recovered && !restarted ? state.seq : hello.seq,
      viewers: hello.viewers,
      role: hello.role,
      cameras,
      camera: currentCamera({ ...state, cameras })?.name ?? hello.cameras[0]?.name ?? null,
      notice: state.notice?.kind === "unsent" || (restarted && isFailure(state)) ? null : state.notice,
    };
    for (const { name } of hello.cameras) next = forgetFailure(state, next, name);
    if (next.press?.epoch === null) {
      next = { ...next, press: { ...next.press, epoch: hello.epoch, camera: next.press.camera ?? next.camera } };
    }
    if (hello.recovered) return next;
    const latest = hello.cameras.find(({ name }) => name === next.camera)?.latest ?? null;
    if ((latest?.snapshot ?? null) === (latestPhoto(next)?.snapshot ?? null)) return settlePress(next, now);
    return { ...(latest ? arrive(next, snapshotOf(latest)) : next), missed: true };
  },

  reply(state, reply, now) {
    if (!state.press || reply.request !== state.press.request) return state;
    if (reply.outcome === "cached") return claim(state, reply.snapshot);
    const startsAt = reply.retry_after === undefined ? null : now + reply.retry_after * 1000;
    const press = { ...state.press, outcome: reply.outcome, capture: reply.capture, startsAt };
    const photo = photoOf(state, press);
    return photo ? claim(state, photo.snapshot) : { ...state, press };
  },

  error(state, error) {
    // Without a `request`, it is about the last message: the press, if that is unanswered.
    const ours =
      state.press !== null && !state.press.outcome && (error.request ?? state.press.request) === state.press.request;
    return { ...state, press: ours ? null : state.press, notice: { kind: error.code, text: error.message } };
  },

  viewers: (state, viewers) => ({ ...state, viewers: viewers.count }),

  capturing(state, event) {
    const next = change(state, event.camera, (camera) => ({
      state: "capturing",
      capture: event.capture,
      readyAt: Date.parse(event.at) + camera.deadTime,
    }));
    return { ...next, notice: isOfShownCamera(state, event) ? null : state.notice };
  },

  ready(state, event) {
    const photo = { ...snapshotOf(event), quality: event.quality ?? null };
    const own = isPressed(state, event);
    const next = change(state, event.camera, () => ({ state: "idle", capture: null, since: null, reason: null }));
    const shown = arrive({ ...next, notice: isOfShownCamera(state, event) ? null : state.notice }, photo);
    return own ? claim(shown, photo.snapshot) : shown;
  },

  failed(state, event) {
    const at = Date.parse(event.at);
    const offline = event.code === "camera_offline";
    const next = change(state, event.camera, (camera) => ({
      state: offline ? "offline" : "idle",
      capture: null,
      since: offline ? (camera.since ?? at) : null,
      reason: offline ? event.message : null,
      readyAt: Math.max(camera.readyAt, at + (event.retry_after ?? 0) * 1000),
    }));
    const press = isPressed(state, event) ? null : state.press;
    const notice = { kind: "failed", text: event.message, camera: event.camera };
    return { ...next, press, notice: isOfShownCamera(state, event) ? notice : state.notice };
  },

  camera(state, event) {
    const next = change(state, event.camera, (camera) => ({
      state: event.state === "cooling" ? "idle" : event.state,
      since: event.state === "offline" ? (camera.since ?? Date.parse(event.at)) : null,
      reason: event.reason ?? null,
    }));
    return forgetFailure(state, next, event.camera);
  },

  removed: (state, event) => forget(state, event.snapshots, event.reason),
};

/** @returns {Camera} */
function cameraOf(/** @type {CameraStatus} */ status) {
  return {
    name: status.name,
    state: status.state === "cooling" ? "idle" : status.state,
    deadTime: status.dead_time * 1000,
    readyAt: Date.parse(status.ready_at),
    capture: status.capture ?? null,
    since: status.since ? Date.parse(status.since) : null,
    reason: status.reason ?? null,
    preview: status.preview === true,
  };
}

/** @param {State} state @param {string} name @param {(camera: Camera) => Partial<Camera>} changes */
function change(state, name, changes) {
  const camera = state.cameras[name];
  return camera ? { ...state, cameras: { ...state.cameras, [name]: { ...camera, ...changes(camera) } } } : state;
}

/**
 * Return true if an event is about the shown camera. Failures of others are shown on their own pages.
 * @param {State} state @param {{camera: string}} event
 */
const isOfShownCamera = ({ camera }, event) => event.camera === camera;

/** @param {State} state @param {string} [camera] */
const isFailure = ({ notice }, camera = notice?.camera) => notice?.kind === "failed" && notice.camera === camera;

/**
 * Drop the notice of this camera's failure if the camera is back.
 * @param {State} before @param {State} after @param {string} camera
 */
function forgetFailure(before, after, camera) {
  const isOffline = (/** @type {State} */ { cameras }) => cameras[camera]?.state === "offline";
  return isOffline(before) && !isOffline(after) && isFailure(after, camera) ? { ...after, notice: null } : after;
}

/** @param {State} state @param {{camera: string, capture: number}} event */
const isPressed = ({ press }, event) =>
  press !== null && press.camera === event.camera && press.capture === event.capture;

/**
 * Add a new photo to the strip, and show it if the page follows the newest.
 * @param {State} state @param {Snapshot} photo
 */
function arrive(state, photo) {
  if (photo.camera !== state.camera || state.photos.some(({ snapshot }) => snapshot === photo.snapshot)) return state;
  const photos = [photo, ...state.photos].slice(0, state.stripLength);
  if (!state.following) return { ...state, photos, unseen: state.unseen + 1 };
  return { ...state, photos, shown: photo, unseen: state.live ? state.unseen + 1 : 0 };
}

/** @type {Record<string, string>} */
const REMOVED_TEXTS = {
  deleted: "This photo was deleted.",
  retention: "This photo was removed to make room.",
  unheard: "This photo no longer exists.",
};

/**
 * Remove photos. If the shown one is removed, show the newest one.
 * @param {State} state @param {string[]} ids @param {string} reason
 */
function forget(state, ids, reason) {
  const isGone = (/** @type {Snapshot} */ { snapshot }) => ids.includes(snapshot);
  const isKnown =
    state.own.some((id) => ids.includes(id)) || ids.includes(state.wanted ?? "") || state.photos.some(isGone);
  const isShownGone = state.shown !== null && isGone(state.shown);
  if (!isKnown && !isShownGone) return state;
  const next = {
    ...state,
    photos: state.photos.filter((photo) => !isGone(photo)),
    own: state.own.filter((id) => !ids.includes(id)),
    wanted: ids.includes(state.wanted ?? "") ? null : state.wanted,
    unseen: state.unseen - state.photos.slice(0, state.unseen).filter(isGone).length,
  };
  if (!isShownGone) return next;
  const unseen = state.live ? next.unseen : 0;
  const notice = { kind: "removed", text: REMOVED_TEXTS[reason] ?? REMOVED_TEXTS.deleted };
  return { ...next, shown: latestPhoto(next), following: true, unseen, notice };
}

/**
 * Answer the press with a snapshot: it becomes the visitor's own, and is shown as soon as it is in `photos`.
 * @param {State} state @param {string} id
 */
function claim(state, id) {
  const photo = state.photos.find(({ snapshot }) => snapshot === id) ?? null;
  const next = {
    ...state,
    press: null,
    notice: null,
    following: true,
    unseen: state.live ? Math.max(1, state.unseen) : 0,
    own: [...state.own.filter((own) => own !== id), id],
  };
  return photo ? { ...next, shown: photo, wanted: null } : { ...next, wanted: id };
}

/**
 * Finish or keep a press after a lost connection without a replay.
 * @param {State} state @param {number} now
 */
function settlePress(state, now) {
  const { press } = state;
  if (!press) return state;
  const photo = press.outcome && photoOf(state, press);
  if (photo) return claim(state, photo.snapshot);
  const latest = latestPhoto(state)?.capture ?? 0;
  const comes = press.outcome ? latest < (press.capture ?? 0) : now - press.at < MAX_PRESS_WAIT_MS;
  if (comes && press.epoch === state.epoch) return state;
  const text = "The connection was lost before your photo arrived. Press again.";
  return { ...state, press: null, notice: { kind: "lost", text } };
}

/** @param {State} state @param {Press} press */
const photoOf = (state, { camera, capture }) =>
  state.photos.find((photo) => photo.camera === camera && photo.capture === capture) ?? null;

// ---- actions on this side

/**
 * Return the state after an action.
 * @param {State} state @param {Action} action @param {number} now
 */
export function act(state, action, now) {
  const handler = /** @type {(state: State, action: Action, now: number) => State} */ (ACTS[action.act]);
  return handler(state, action, now);
}

/** @type {ActionHandlers} */
const ACTS = {
  lost(state, _, now) {
    const since = state.connection.state === "lost" ? state.connection.since : now;
    return { ...state, connection: { state: "lost", since, code: null } };
  },

  refused: (state, { code }, now) => ({ ...state, connection: { state: "refused", since: now, code } }),

  press(state, { request }, now) {
    const { camera, epoch } = state;
    const press = { request, camera, epoch, at: now, outcome: null, capture: null, startsAt: null };
    const shown = state.following ? state.shown : (latestPhoto(state) ?? state.shown);
    return { ...state, press, notice: null, following: true, unseen: 0, shown };
  },

  live: (state, { on }) => ({ ...state, live: on, video: LIVE_VIDEO, unseen: state.following ? 0 : state.unseen }),

  video(state, { state: video, age }, now) {
    return video === state.video.state ? state : { ...state, video: { state: video, since: now - age } };
  },

  seen: (state, { seen }) => ({ ...state, seen }),

  complete: (state, { complete }) => (complete === state.complete ? state : { ...state, complete }),

  unsent: (state) => ({
    ...state,
    notice: { kind: "unsent", text: "The page is not connected, so no photo was taken. Press again when it is live." },
  }),

  /**
   * Merge the newest photos, fetched after events were missed. Photos up to capture `asked`, the last one at the request,
   * that are not among them are gone.
   */
  photos(state, { photos, asked = Infinity }, now) {
    const known = new Map(state.photos.map((photo) => [photo.snapshot, photo]));
    const listed = photos
      .filter(({ camera }) => camera === state.camera || state.camera === null)
      .map((photo) => known.get(photo.snapshot) ?? photo); // a pushed photo has more fields
    const isListed = (/** @type {Snapshot} */ { snapshot }) => listed.some((photo) => photo.snapshot === snapshot);
    const later = state.photos.filter((photo) => photo.capture > asked && !isListed(photo));
    const ours = [...later, ...listed].slice(0, state.stripLength);
    const reach = listed.length < state.stripLength ? 0 : listed[listed.length - 1].capture;
    const isGone = (/** @type {Snapshot} */ photo) =>
      photo.camera === state.camera && photo.capture > reach && photo.capture <= asked && !isListed(photo);
    const gone = [...state.photos, ...(state.shown ? [state.shown] : [])].filter(isGone);
    state = forget(
      state,
      gone.map(({ snapshot }) => snapshot),
      "unheard",
    );
    const fresh = ours.findIndex(({ snapshot }) => known.has(snapshot));
    const unseen = state.following && !state.live ? 0 : state.unseen + (fresh < 0 ? ours.length : fresh);
    let next = { ...state, photos: ours, unseen, missed: false };
    if (state.following && ours.length && fresh !== 0) next = { ...next, shown: ours[0] };
    if (state.wanted && ours.some(({ snapshot }) => snapshot === state.wanted)) next = claim(next, state.wanted);
    return settlePress(next, now);
  },

  show(state, { snapshot }) {
    const place = state.photos.findIndex((photo) => photo.snapshot === snapshot);
    if (place < 0) return state;
    const following = place === 0;
    return { ...state, live: false, shown: state.photos[place], following, unseen: following ? 0 : state.unseen };
  },

  /** Show an older photo (`by` is 1) or a newer one (-1). The live view counts as the newest. */
  walk(state, { by }, now) {
    if (!state.photos.length || (state.live && by < 0)) return state;
    const place = state.live ? -1 : state.photos.findIndex(({ snapshot }) => snapshot === state.shown?.snapshot);
    const from = place < 0 && !state.live ? state.photos.length : place; // older than the strip reaches
    const to = Math.max(0, Math.min(state.photos.length - 1, from + by));
    return to === place ? state : ACTS.show(state, { snapshot: state.photos[to].snapshot }, now);
  },

  newest(state) {
    const newest = latestPhoto(state);
    return { ...state, live: false, shown: newest ?? state.shown, following: true, unseen: 0 };
  },

  dismiss: (state) => ({ ...state, notice: null }),
};
