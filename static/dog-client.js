/*
 * D.O.G. in a browser: one connection to a server (docs/protocol.md) that heals itself, as a module without others.
 * The live page stands on it, and so may any page that the server's setting `origins` names (docs/clients.md).
 *
 *     const dog = new DogClient("https://camera.example");
 *     dog.addEventListener("ready", ({ detail }) => { image.src = detail.url; });
 *     const photo = await dog.capture();
 *
 * - After a loss it comes back with full jitter: a random part of 0.5 s, doubling to 20 s. Codes 4401 and 4403 end it.
 * - A token is said on the connection and with each fetch, never in an address: those are kept in histories and logs.
 * - It resumes by the cursor of the last message it handed on, so that nothing is lost; `seq` tells repeats, which are
 *   dropped. What can't be had again is told as `missed`.
 * - A press whose connection dies is said again with its key, and gets the photo it would have got.
 * - A browser can't see WebSocket pings, so after 20 s of silence it asks with a `ping` of its own, and gives the
 *   connection up when nothing comes in 10 s. An ended connection is left at once, without waiting for its farewell.
 */

const FIRST_DELAY = 500; // ms, and the ones below too
const LAST_DELAY = 20_000;
const STEADY = 10_000; // a connection that lasted this long starts the delays anew
const SILENCE = 20_000;
const PATIENCE = 10_000;
const MEMORY = 600_000; // a server knows the key of a press for so long
const UNAUTHORIZED = 4401;
/** What ends the trying, by its close code. */
const REFUSALS = new Map([
  [UNAUTHORIZED, ["unauthorized", "You must log in, or send a token."]],
  [4403, ["forbidden", "The server does not allow this page to connect."]],
]);

/**
 * A photo, in the words of the protocol; the addresses are whole.
 * @typedef {object} Photo
 * @property {string} camera its name
 * @property {number} capture its number; a later photo of any camera has a higher one
 * @property {string} snapshot the photo's id
 * @property {string} url of the picture
 * @property {string} page of the photo, for people
 * @property {string} thumbnail at most 320 by 320 pixels
 * @property {string} captured_at when the exposure began: RFC 3339, UTC, milliseconds
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} bytes of the picture
 * @property {string} content_type such as image/jpeg
 * @property {number} [exposure] seconds
 * @property {string} [sha256] of the picture, 64 hex digits
 * @property {boolean} [pinned] among those that `snapshots()` gives
 * @property {{verdict: "good" | "black", brightness: number, retaken?: number, found?: string[]}} [quality]
 */

/**
 * What a press gave. `age` is in seconds, from the beginning of the exposure to the answer.
 * @typedef {Photo & {outcome: "started" | "joined" | "queued" | "cached", age?: number}} CapturedPhoto
 */

/**
 * A camera as it is now. `dead_time` is in seconds; `ready_at` is when the next exposure may begin.
 * @typedef {object} CameraStatus
 * @property {string} name
 * @property {"idle" | "capturing" | "cooling" | "offline"} state
 * @property {number} dead_time
 * @property {string} ready_at
 * @property {Photo | null} latest
 * @property {number} [capture] the running one's number
 * @property {string} [since] when it went offline
 * @property {string} [reason] why it is offline, for people
 * @property {boolean} [preview] whether /preview.mjpg shows it
 */

/**
 * What this viewer may do, each with those before: watch, take photos, delete and pin and share them.
 * @typedef {"view" | "capture" | "manage"} Role
 */

/**
 * What the server's `dog token add` printed, or a function that gives it each time it is shown.
 * @typedef {string | null | undefined | (() => string | null | undefined | Promise<string | null | undefined>)} Token
 */

/**
 * The events by their type; each one's `detail` is this. Those of the server are its messages, in the words of
 * docs/protocol.md, and more may come; `statechange` and `missed` are said on this side.
 * @typedef {{seq: number, cursor: string, at: string, camera: string}} Numbered
 * @typedef {object} DogEvents
 * @property {{at: string, epoch: number, seq: number, cursor: string, recovered: boolean, server: string,
 *   role: Role, cameras: CameraStatus[], viewers: number}} hello the whole state, each time the connection is there, and
 *   when a token says more of who this is
 * @property {Numbered & {capture: number}} capturing the exposure begins
 * @property {Numbered & Photo} ready the photo is there
 * @property {Numbered & {capture: number, code: string, message: string, retry_after?: number}} failed
 * @property {Numbered & {state: string, reason?: string}} camera it went offline, or came back
 * @property {Numbered & {snapshots: string[], reason: "deleted" | "retention"}} removed
 * @property {{count: number}} viewers how many are watching
 * @property {{state: State, code?: number}} statechange `code` is the close code that ended it, where it is `refused`
 * @property {{since: string}} missed after a `hello`: the events after that cursor are lost, but not their photos
 */

/**
 * `connecting` until the first `hello`, then `live`; `lost` while it tries to come back. `refused` (the server does not
 * let this page watch, or asks who this is) and `closed` are for good.
 * @typedef {"connecting" | "live" | "lost" | "refused" | "closed"} State
 */

/**
 * @typedef {object} Press
 * @property {string} request
 * @property {string | null} [camera]
 * @property {number} [maxAge]
 * @property {number} at when the server was first told of it, in ms; `maxAge` counts from then
 * @property {number | null} epoch of the server that was told
 * @property {WebSocket | null} socket on which it was said last
 * @property {number | null} capture that serves it
 * @property {CapturedPhoto["outcome"] | null} outcome
 * @property {(photo: CapturedPhoto) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/**
 * What went wrong, with a message for people. `code` is one of docs/protocol.md's, or on this side: `closed`, the
 * client was; `unreachable`, the server can't be asked. `retryAfter` is in seconds, where waiting helps.
 */
export class DogError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{retryAfter?: number, cause?: unknown}} [more]
   */
  constructor(code, message, { retryAfter, cause } = {}) {
    super(message, { cause });
    this.name = "DogError";
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** A key for a press: it is the same press for whoever says it again. */
export function randomRequest() {
  return crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-");
}

export class DogClient extends EventTarget {
  #root;
  /** @type {Token} */
  #token;
  #introduction = randomRequest(); // the key of what says the token
  #isAsking = false; // for a token, before the connection is opened
  /** @type {State} */
  #state = "connecting";
  /** @type {DogError | null} */
  #ended = null;
  /** @type {WebSocket | null} */
  #socket = null; // none while it waits for the next try
  #liveSince = 0;
  #attempts = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #listening = new AbortController();
  /** @type {number | null} */
  #epoch = null;
  #seq = 0;
  /** @type {string | null} */
  #cursor = null;
  /** @type {CameraStatus[]} */
  #cameras = []; // as the last `hello` had them
  /** @type {Map<string, Photo>} */
  #latest = new Map(); // by camera
  /** @type {Set<Press>} */
  #presses = new Set(); // that have no photo yet
  /** @type {(Press | null)[]} */
  #asked = []; // what the server has to answer, which it does in this order; null is a ping

  /**
   * Connects at once, and goes on until `close`.
   * @param {string | URL} [url] of the server, where its live page is; without one, where this module came from.
   *   Throws a TypeError where it is none.
   * @param {object} [more]
   * @param {Token} [more.token] for a server that asks who this is; in its own pages whoever logged in needs none
   */
  constructor(url = new URL("..", import.meta.url), { token } = {}) {
    super();
    this.#token = token;
    const root = new URL(url, globalThis.document?.baseURI);
    if (!/^https?:$/.test(root.protocol)) {
      throw new TypeError(`${root} is not the URL of a server. Write one such as https://camera.example`);
    }
    root.search = root.hash = "";
    if (!root.pathname.endsWith("/")) root.pathname += "/";
    this.#root = root;
    const { signal } = this.#listening;
    const hurry = () => this.#hurry();
    globalThis.addEventListener?.("online", hurry, { signal });
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && hurry(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || hurry(), { signal });
    this.#open();
  }

  /** The server's address, with a slash at its end. */
  get url() {
    return this.#root.href;
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /**
   * Take a photo, or get one that is fresh enough: its exposure began no earlier than `maxAge` seconds before the press.
   * 0 is a new one, and left out it is the camera's dead time. While the connection is lost the press waits for it:
   * `signal: AbortSignal.timeout(15_000)` is a limit. An aborted press is not said again, but may have been heard.
   * @param {object} [wish]
   * @param {string | null} [wish.camera] its name; the first where left out
   * @param {number} [wish.maxAge] seconds
   * @param {string} [wish.request] makes it the same press for whoever says it; chosen at random where left out
   * @param {AbortSignal} [wish.signal]
   * @returns {Promise<CapturedPhoto>} rejects with a DogError, a RangeError, or the signal's reason
   */
  capture({ camera, maxAge, request = randomRequest(), signal } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#ended) throw this.#ended;
      if (maxAge !== undefined && !(maxAge >= 0 && maxAge < Infinity)) {
        throw new RangeError("maxAge is a number of seconds, 0 or more");
      }
      const settled = new AbortController();
      const settle = (/** @type {() => void} */ how) => {
        if (this.#presses.delete(press)) how();
        settled.abort();
      };
      /** @type {Press} */
      const press = {
        request, camera, maxAge, at: 0, epoch: null, socket: null, capture: null, outcome: null,
        resolve: (photo) => settle(() => resolve(photo)),
        reject: (error) => settle(() => reject(error)),
      };
      signal?.addEventListener("abort", () => press.reject(signal.reason), { signal: settled.signal });
      this.#presses.add(press);
      if (this.#state === "live") this.#sayPress(press);
    });
  }

  /**
   * The photos that there are, newest first; `before` is the id of one to go on from.
   * @param {{camera?: string | null, before?: string | null, limit?: number}} [wish] `limit` is at most 200
   * @returns {Promise<Photo[]>} rejects with a DogError
   */
  async snapshots(wish = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(wish)) if (value != null) query.set(name, String(value));
    const { snapshots } = await this.#read(`api/snapshots?${query}`);
    return snapshots.map((/** @type {Photo} */ photo) => this.#makeWhole(photo));
  }

  /**
   * The platform's fetch, which shows the token where the address is one of the server's: for what an element would have
   * to be let in for, such as a picture, and for the rest of the interface. `url` may be relative to the server's.
   * @param {string | URL} url
   * @param {RequestInit} [how]
   */
  async fetch(url, how = {}) {
    const whole = new URL(url, this.#root);
    const headers = new Headers(how.headers);
    const token = whole.href.startsWith(this.#root.href) && (await this.#findToken());
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return fetch(whole, { ...how, headers });
  }

  /** Leave for good: nothing comes any more but a `statechange`, and presses under way are rejected with `closed`. */
  close() {
    this.#end("closed", new DogError("closed", "The connection was closed by this page."));
  }

  /**
   * @template {keyof DogEvents} Type
   * @overload
   * @param {Type} type
   * @param {(event: CustomEvent<DogEvents[Type]>) => void} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @overload
   * @param {string} type
   * @param {((event: CustomEvent) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  // ---- the connection

  #open() {
    if (typeof this.#token !== "function") {
      this.#connect(this.#token);
      return;
    }
    if (this.#isAsking) return;
    this.#isAsking = true;
    clearTimeout(this.#timer);
    this.#findToken()
      .finally(() => (this.#isAsking = false))
      .then((token) => this.#ended ?? this.#connect(token), () => this.#ended ?? this.#lose(1006));
  }

  async #findToken() {
    return typeof this.#token === "function" ? this.#token() : this.#token;
  }

  #connect(/** @type {string | null | undefined} */ token) {
    const url = new URL("ws", this.#root);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("since", this.#cursor);
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#asked = [];
    if (token) socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token, request: this.#introduction }));
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.#lose(code);
    this.#expect(PATIENCE);
  }

  /** The network or the window came back: try now rather than later, or see whether the connection still lives. */
  #hurry() {
    if (!this.#socket) this.#open();
    else if (this.#state === "live") this.#ask();
  }

  #ask() {
    if (this.#say({ type: "ping" }, null)) this.#expect(PATIENCE);
    else this.#lose(1006);
  }

  /** Something must be heard within this time. */
  #expect(/** @type {number} */ time, then = () => this.#lose(1006)) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, time);
  }

  #leave() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
    this.#socket = null;
  }

  #lose(/** @type {number} */ code) {
    const refusal = REFUSALS.get(code);
    if (refusal) {
      this.#end("refused", new DogError(refusal[0], refusal[1]), code);
      return;
    }
    if (this.#state === "live" && Date.now() - this.#liveSince > STEADY) this.#attempts = 0;
    this.#leave();
    const delay = Math.random() * Math.min(LAST_DELAY, FIRST_DELAY * 2 ** this.#attempts);
    this.#attempts += 1;
    this.#expect(delay, () => this.#open());
    this.#change("lost");
  }

  /** @param {State} state @param {DogError} error @param {number} [code] */
  #end(state, error, code) {
    if (this.#ended) return;
    this.#ended = error;
    this.#listening.abort();
    this.#leave();
    for (const press of this.#presses) press.reject(error);
    this.#change(state, code);
  }

  /** @param {State} state @param {number} [code] */
  #change(state, code) {
    if (state === this.#state) return;
    this.#state = state;
    this.#tell("statechange", code === undefined ? { state } : { state, code });
  }

  #tell(/** @type {string} */ type, /** @type {object} */ detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** False when it can't be said, because the connection is not live. */
  #say(/** @type {object} */ message, /** @type {Press | null} */ press) {
    if (this.#state !== "live" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    this.#asked.push(press);
    return true;
  }

  // ---- what the server says

  #receive(/** @type {string} */ data) {
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      // not ours; the silence timer judges the connection
    }
    if (typeof said?.type !== "string") return;
    this.#expect(SILENCE, () => this.#ask());
    const message = this.#makeWhole(said);
    if (message.type === "hello") {
      this.#greet(message);
      return;
    }
    if (Number.isInteger(message.seq)) {
      if (message.seq <= this.#seq) return;
      this.#seq = message.seq;
    }
    if (typeof message.cursor === "string") this.#cursor = message.cursor;
    if (message.type === "ready") this.#latest.set(message.camera, photoOf(message));
    const isAnswer = ["reply", "error", "pong"].includes(message.type) && message.request !== this.#introduction;
    const asked = isAnswer ? this.#asked.shift() : null;
    this.#tell(message.type, message);
    if (message.code === "unauthorized" && this.#state !== "live" && !this.#token) this.#lose(UNAUTHORIZED);
    if (message.type === "reply") this.#hearReply(message);
    else if (message.type === "error") this.#hearError(message, asked);
    else if (message.type === "ready" || message.type === "failed") this.#hearEnd(message);
  }

  #greet(/** @type {any} */ hello) {
    const since = this.#cursor;
    const resumed = hello.recovered && hello.epoch === this.#epoch;
    if (!resumed) this.#seq = hello.seq; // else what was heard last still says which events are new
    this.#epoch = hello.epoch;
    this.#cursor = hello.cursor;
    this.#cameras = hello.cameras = hello.cameras.map((/** @type {CameraStatus} */ camera) => ({
      ...camera,
      latest: camera.latest && this.#makeWhole(camera.latest),
    }));
    for (const { name, latest } of this.#cameras) if (latest) this.#latest.set(name, latest);
    this.#liveSince = Date.now();
    this.#change("live");
    if (!this.#ended) this.#tell("hello", hello);
    if (!this.#ended && since && !hello.recovered) this.#tell("missed", { since });
    for (const press of this.#presses) {
      const replayed = resumed && press.capture !== null; // what became of it is told by its events
      if (press.socket !== this.#socket && !replayed) this.#sayPress(press);
    }
  }

  #hearReply(/** @type {any} */ reply) {
    for (const press of this.#presses) {
      if (press.request !== reply.request) continue;
      press.capture = reply.capture;
      press.outcome ??= reply.outcome;
      if (reply.outcome !== "cached") continue;
      this.#find(reply.snapshot).then((photo) => finish(press, photo, reply.age), press.reject);
    }
  }

  /** One that names no request is about what has waited longest for its answer. */
  #hearError(/** @type {any} */ error, /** @type {Press | null | undefined} */ asked) {
    for (const press of this.#presses) {
      if (error.request === undefined ? press === asked : press.request === error.request) press.reject(errorOf(error));
    }
  }

  #hearEnd(/** @type {any} */ event) {
    for (const press of this.#presses) {
      if (press.capture !== event.capture) continue;
      if (event.type === "failed") press.reject(errorOf(event));
      else finish(press, photoOf(event), (Date.parse(event.at) - Date.parse(event.captured_at)) / 1000);
    }
  }

  // ---- presses and photos

  /**
   * Say it, again or for the first time. To a server that was started anew, or has forgotten the key, it is a new press:
   * that one allows what the first one allowed, and so the photo that the first one took.
   */
  #sayPress(/** @type {Press} */ press) {
    const now = Date.now();
    if (press.epoch !== this.#epoch || now - press.at > MEMORY) {
      if (press.epoch !== null) {
        const camera = this.#cameras.find(({ name }) => name === (press.camera ?? name));
        press.maxAge = (press.maxAge ?? camera?.dead_time ?? 0) + Math.max(0, now - press.at) / 1000;
      }
      press.epoch = this.#epoch;
      press.at = now;
    }
    const { request, camera, maxAge } = press;
    if (this.#say({ type: "capture", request, camera, max_age: maxAge }, press)) press.socket = this.#socket;
  }

  /** @returns {Promise<Photo>} */
  async #find(/** @type {string} */ snapshot) {
    for (const photo of this.#latest.values()) if (photo.snapshot === snapshot) return photo;
    return this.#makeWhole(await this.#read(`api/snapshots/${encodeURIComponent(snapshot)}`));
  }

  async #read(/** @type {string} */ path) {
    try {
      const response = await this.fetch(path);
      const body = await response.json();
      if (response.ok) return body;
      const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
      throw new DogError(body.code, body.detail, { retryAfter });
    } catch (cause) {
      if (cause instanceof DogError) throw cause;
      const text = `${this.#root} can't be reached, or does not allow this page. Check the URL, and the server's setting \`origins\`.`;
      throw new DogError("unreachable", text, { cause });
    }
  }

  /** A server that does not know its public address tells paths from its root: they lie below the address we use. */
  #makeWhole(/** @type {any} */ said) {
    const whole = { ...said };
    for (const field of ["url", "page", "thumbnail"]) {
      if (typeof said[field] === "string") whole[field] = new URL(said[field].replace(/^\//, ""), this.#root).href;
    }
    return whole;
  }
}

/** @returns {Photo} */
function photoOf(/** @type {any} */ { type, seq, cursor, at, ...photo }) {
  return photo;
}

/** What the server told of in an `error` or a `failed`. */
function errorOf(/** @type {any} */ { code, message, retry_after: retryAfter }) {
  return new DogError(code, message, { retryAfter });
}

function finish(/** @type {Press} */ press, /** @type {Photo} */ photo, /** @type {number | undefined} */ age) {
  const outcome = /** @type {CapturedPhoto["outcome"]} */ (press.outcome);
  press.resolve({ ...photo, outcome, ...(age !== undefined && { age }) });
}
