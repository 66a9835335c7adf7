/*
 * A browser client for D.O.G.: one connection to a server (docs/protocol.md) that reconnects. It needs no other module.
 * The live page uses it, and so can any page that the server's setting `origins` names (docs/clients.md).
 *
 *     const dog = new DogClient("https://camera.example");
 *     dog.addEventListener("ready", ({ detail }) => { image.src = detail.url; });
 *     const photo = await dog.capture();
 *
 * - If no WebSocket opens while the server answers, as behind a proxy that blocks them, it uses Server-Sent Events and
 *   POST until that connection ends.
 * - It reconnects with full jitter: a random part of 0.5 s, doubling to 20 s. Close codes 4401 and 4403 are final.
 * - A token is sent in a message and in the header of each fetch, never in a URL: histories and logs keep URLs.
 * - It resumes by the cursor of the last message that it dispatched, so no event is lost. Repeated events are dropped by
 *   their `seq`. If the server has no replay, `missed` is dispatched.
 * - If a connection is lost during a press, the request is sent again with its key, and receives the same photo.
 * - A browser can't see WebSocket pings. So after 20 s of silence the client sends a `ping`, and drops the connection if
 *   no message arrives in 10 s, or in 2.5 s when the network or the window is back. It does not wait for the closing handshake.
 */

const MIN_RETRY_DELAY_MS = 500;
const MAX_RETRY_DELAY_MS = 20_000;
const STABLE_CONNECTION_MS = 10_000; // after a connection that lasted this long, the delay begins with the minimum
const PING_AFTER_SILENCE_MS = 20_000;
const RESPONSE_TIMEOUT_MS = 10_000;
const WAKE_RESPONSE_TIMEOUT_MS = 2500; // when the network or the window is back
const STREAM_SILENCE_MS = 40_000; // a stream has a comment every 25 s
const REQUEST_KEY_TTL_MS = 600_000; // a server remembers the key of a press for 10 minutes
const CLOSE_UNAUTHORIZED = 4401;
/** Close codes after which the client does not reconnect, with the code and the message of the DogError. */
const FINAL_CLOSE_CODES = new Map([
  [CLOSE_UNAUTHORIZED, ["unauthorized", "You must log in, or send a token."]],
  [4403, ["forbidden", "The server does not allow this page to connect."]],
]);

/**
 * A photo, with the protocol's field names and absolute URLs.
 * @typedef {object} Photo
 * @property {string} camera the camera's name
 * @property {number} capture the capture's number; a later photo of any camera has a higher one
 * @property {string} snapshot the photo's id
 * @property {string} url URL of the image
 * @property {string} page URL of the photo's page
 * @property {string} thumbnail URL of an image of at most 320 by 320 pixels
 * @property {string} captured_at when the exposure began: RFC 3339, UTC, milliseconds
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} bytes size of the image
 * @property {string} content_type such as image/jpeg
 * @property {number} [exposure] seconds
 * @property {string} [sha256] hash of the image, 64 hex digits
 * @property {boolean} [pinned] only in the photos from `snapshots()`
 * @property {string} [color] the average colour, as `#rrggbb`
 * @property {{verdict: "good" | "black", brightness: number, retaken?: number, found?: string[]}} [quality]
 */

/**
 * The result of `capture()`. `age` is the time from the beginning of the exposure to the answer, in seconds.
 * @typedef {Photo & {outcome: "started" | "joined" | "queued" | "cached", age?: number}} CapturedPhoto
 */

/**
 * A camera's status. `dead_time` is in seconds; `ready_at` is when the next exposure may begin.
 * @typedef {object} CameraStatus
 * @property {string} name
 * @property {"idle" | "capturing" | "cooling" | "offline"} state
 * @property {number} dead_time
 * @property {string} ready_at
 * @property {Photo | null} latest
 * @property {number} [capture] number of the running capture
 * @property {string} [since] when it went offline
 * @property {string} [reason] why it is offline, for people
 * @property {boolean} [preview] true if /preview.mjpg shows it
 */

/**
 * The viewer's role: watch; also take photos; also pin, delete and share them.
 * @typedef {"view" | "capture" | "manage"} Role
 */

/**
 * The token that `dog token add` printed on the server, or a function that returns it each time it is sent.
 * @typedef {string | null | undefined | (() => string | null | undefined | Promise<string | null | undefined>)} Token
 */

/**
 * The `detail` of each type of event. The server's messages (docs/protocol.md) are dispatched as they are, and a newer
 * server may send more types. `statechange` and `missed` come from this client.
 * @typedef {{seq: number, cursor: string, at: string, camera: string}} Numbered
 * @typedef {object} DogEvents
 * @property {{at: string, epoch: number, seq: number, cursor: string, recovered: boolean, server: string,
 *   role: Role, cameras: CameraStatus[], viewers: number}} hello the whole state, after each connection, and after a
 *   token changed the role
 * @property {Numbered & {capture: number}} capturing an exposure begins
 * @property {Numbered & Photo} ready the photo is saved
 * @property {Numbered & {capture: number, code: string, message: string, retry_after?: number}} failed
 * @property {Numbered & {state: string, reason?: string}} camera a camera went offline, or is back
 * @property {Numbered & {snapshots: string[], reason: "deleted" | "retention"}} removed
 * @property {{count: number}} viewers the number of viewers
 * @property {{state: State, code?: number}} statechange `code` is the close code if the state is `refused`
 * @property {{since: string}} missed after a `hello`: the events after this cursor can't be replayed; `snapshots()` has their photos
 */

/**
 * `connecting` until the first `hello`, then `live`; `lost` while it reconnects. `refused` (the server does not allow
 * this page, or requires a login) and `closed` are final.
 * @typedef {"connecting" | "live" | "lost" | "refused" | "closed"} State
 */

/**
 * @typedef {object} Press
 * @property {string} request
 * @property {string | null} [camera]
 * @property {number} [maxAge]
 * @property {number} at when it was first sent, in ms; `maxAge` counts from then
 * @property {number | null} epoch of the server that it was sent to
 * @property {WebSocket | EventStream | null} socket on which it was sent last
 * @property {number | null} capture number of the capture that serves it
 * @property {CapturedPhoto["outcome"] | null} outcome
 * @property {(photo: CapturedPhoto) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/**
 * An error with a message for people. `code` is one of docs/protocol.md, or `closed` after `close()`, or `unreachable`
 * if the server can't be reached. `retryAfter` is in seconds, and set if waiting helps.
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

/** Return a random idempotency key for a press. */
export function randomRequest() {
  return crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-");
}

/**
 * An EventTarget with the types of the DogEvents.
 * @typedef {{
 *   addEventListener<Type extends keyof DogEvents>(type: Type, listener: (event: CustomEvent<DogEvents[Type]>) => void,
 *     options?: boolean | AddEventListenerOptions): void,
 *   addEventListener(type: string, listener: ((event: CustomEvent) => void) | EventListenerObject | null,
 *     options?: boolean | AddEventListenerOptions): void,
 * } & EventTarget} DogEventTarget
 */

export class DogClient extends /** @type {new () => DogEventTarget} */ (EventTarget) {
  #root;
  /** @type {Token} */
  #token;
  #authRequest = randomRequest(); // the key of the `auth` message
  #isGettingToken = false;
  /** @type {State} */
  #state = "connecting";
  /** @type {DogError | null} */
  #stopError = null;
  /** @type {WebSocket | EventStream | null} */
  #socket = null; // null while it waits for the next attempt
  #isAnswered = false; // a message has arrived on it
  #isReachable = true; // the server answered a request before this attempt; it has just sent the page
  #usesStream = false; // for the next attempt
  #liveSince = 0;
  #attempts = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #windowListeners = new AbortController();
  /** @type {number | null} */
  #epoch = null;
  #seq = 0;
  /** @type {string | null} */
  #cursor = null;
  /** @type {CameraStatus[]} */
  #cameras = []; // of the last `hello`
  /** @type {Map<string, Photo>} */
  #latest = new Map(); // by camera
  /** @type {Set<Press>} */
  #presses = new Set(); // without a result so far
  /** @type {(Press | null)[]} */
  #unanswered = []; // messages that the server answers in this order; null is a ping

  /**
   * Connect, and reconnect until `close()`.
   * @param {string | URL} [url] of the server's live page; left out, the server that this module is from.
   *   Throws a TypeError if it is not an HTTP URL.
   * @param {object} [more]
   * @param {Token} [more.token] for a server that requires a login; the server's own pages use the session cookie
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
    const { signal } = this.#windowListeners;
    const reconnect = () => this.#reconnectNow();
    globalThis.addEventListener?.("online", reconnect, { signal });
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && reconnect(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || reconnect(), { signal });
    this.#open();
  }

  /** The server's URL, with a slash at its end. */
  get url() {
    return this.#root.href;
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /**
   * Take a photo, or return one that is fresh enough: its exposure began at most `maxAge` seconds before the press.
   * 0 means a new photo. While the connection is lost, the press waits for it: set a limit such as
   * `signal: AbortSignal.timeout(15_000)`. An aborted press is not sent again, but the server may have received it.
   * @param {object} [options]
   * @param {string | null} [options.camera] name of the camera; the first one if left out
   * @param {number} [options.maxAge] seconds; the camera's dead time if left out
   * @param {string} [options.request] idempotency key; random if left out
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<CapturedPhoto>} rejects with a DogError, a RangeError, or the signal's reason
   */
  capture({ camera, maxAge, request = randomRequest(), signal } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw reasonOf(signal);
      if (this.#stopError) throw this.#stopError;
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
        request,
        camera,
        maxAge,
        at: 0,
        epoch: null,
        socket: null,
        capture: null,
        outcome: null,
        resolve: (photo) => settle(() => resolve(photo)),
        reject: (error) => settle(() => reject(error)),
      };
      signal?.addEventListener("abort", () => press.reject(reasonOf(signal)), { signal: settled.signal });
      this.#presses.add(press);
      if (this.#state === "live") this.#sendPress(press);
    });
  }

  /**
   * List the photos, newest first; `before` is the id of the photo to continue from.
   * @param {{camera?: string | null, before?: string | null, limit?: number}} [options] `limit` is at most 200
   * @returns {Promise<Photo[]>} rejects with a DogError
   */
  async snapshots(options = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(options)) if (value != null) query.set(name, String(value));
    const { snapshots } = await this.#fetchJson(`api/snapshots?${query}`);
    return snapshots.map((/** @type {Photo} */ photo) => this.#completeUrls(photo));
  }

  /**
   * Fetch a URL, and send the token if it is a URL of the server: for images, which an element can't load with a token,
   * and for the rest of the API. `url` may be relative to the server's.
   * @param {string | URL} url
   * @param {RequestInit} [options]
   */
  async fetch(url, options = {}) {
    const full = new URL(url, this.#root);
    const headers = new Headers(options.headers);
    const token = full.href.startsWith(this.#root.href) && (await this.#getToken());
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return fetch(full, { ...options, headers });
  }

  /** Close the connection for good. The last event is a `statechange`; running presses are rejected with `closed`. */
  close() {
    this.#stop("closed", new DogError("closed", "The connection was closed by this page."));
  }

  // ---- the connection

  #open() {
    if (typeof this.#token !== "function") {
      this.#connect(this.#token);
      return;
    }
    if (this.#isGettingToken) return;
    this.#isGettingToken = true;
    clearTimeout(this.#timer);
    this.#getToken()
      .finally(() => (this.#isGettingToken = false))
      .then(
        (token) => this.#stopError ?? this.#connect(token),
        () => this.#stopError ?? this.#handleClose(1006),
      );
  }

  async #getToken() {
    return typeof this.#token === "function" ? this.#token() : this.#token;
  }

  #connect(/** @type {string | null | undefined} */ token) {
    const url = new URL(this.#usesStream ? "events" : "ws", this.#root);
    if (this.#cursor) url.searchParams.set("since", this.#cursor);
    if (!this.#usesStream) url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = this.#usesStream
      ? new EventStream(url, (path, options) => this.fetch(path, options))
      : new WebSocket(url);
    this.#socket = socket;
    this.#isAnswered = false;
    this.#unanswered = [];
    if (token && socket instanceof WebSocket)
      socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token, request: this.#authRequest }));
    socket.onmessage = (/** @type {{data: string}} */ { data }) => this.#receive(data);
    socket.onclose = (/** @type {{code: number}} */ { code }) => this.#handleClose(code);
    this.#setDeadline(RESPONSE_TIMEOUT_MS);
  }

  /** Reconnect now, or check the connection, because the network or the window is back. */
  #reconnectNow() {
    if (!this.#socket) this.#open();
    else if (this.#state === "live") this.#sendPing(WAKE_RESPONSE_TIMEOUT_MS);
  }

  #sendPing(timeout = RESPONSE_TIMEOUT_MS) {
    if (this.#send({ type: "ping" }, null)) this.#setDeadline(timeout);
    else this.#handleClose(1006);
  }

  /** Wait for a message for so many milliseconds; without one, close the connection or do `then`. */
  #setDeadline(/** @type {number} */ time, then = () => this.#handleClose(1006)) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, time);
  }

  #disconnect() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
    this.#socket = null;
  }

  #handleClose(/** @type {number} */ code) {
    const refusal = FINAL_CLOSE_CODES.get(code);
    if (refusal) {
      this.#stop("refused", new DogError(refusal[0], refusal[1]), code);
      return;
    }
    if (this.#state === "live" && Date.now() - this.#liveSince > STABLE_CONNECTION_MS) this.#attempts = 0;
    const isBlocked = this.#socket instanceof WebSocket && !this.#isAnswered;
    this.#disconnect();
    this.#usesStream = isBlocked && this.#isReachable;
    this.#isReachable = false;
    if (isBlocked && !this.#usesStream) this.#checkServer();
    this.#retry(this.#usesStream ? 0 : this.#attempts);
    this.#attempts += 1;
    this.#setState("lost");
  }

  /** Find out if the server answers. If it does, and the next WebSocket fails too, something blocks WebSockets. */
  async #checkServer() {
    const answer = await this.fetch("healthz", { cache: "no-store" }).catch(() => null);
    if (this.#socket || this.#stopError || !answer?.ok) return;
    this.#isReachable = true;
    this.#retry(0);
  }

  /** Reconnect after a random delay that doubles with the number of attempts. */
  #retry(/** @type {number} */ attempts) {
    const delay = Math.random() * Math.min(MAX_RETRY_DELAY_MS, MIN_RETRY_DELAY_MS * 2 ** attempts);
    this.#setDeadline(delay, () => this.#open());
  }

  /** @param {State} state @param {DogError} error @param {number} [code] */
  #stop(state, error, code) {
    if (this.#stopError) return;
    this.#stopError = error;
    this.#windowListeners.abort();
    this.#disconnect();
    for (const press of this.#presses) press.reject(error);
    this.#setState(state, code);
  }

  /** @param {State} state @param {number} [code] */
  #setState(state, code) {
    if (state === this.#state) return;
    this.#state = state;
    this.#dispatch("statechange", code === undefined ? { state } : { state, code });
  }

  #dispatch(/** @type {string} */ type, /** @type {object} */ detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Send a message. Return false if the connection is not live. */
  #send(/** @type {object} */ message, /** @type {Press | null} */ press) {
    if (this.#state !== "live" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    this.#unanswered.push(press);
    return true;
  }

  // ---- messages of the server

  #receive(/** @type {string} */ data) {
    let parsed;
    try {
      parsed = JSON.parse(data);
    } catch {
      // not a message of the protocol
    }
    if (typeof parsed?.type !== "string") return;
    this.#isAnswered = true;
    this.#setDeadline(PING_AFTER_SILENCE_MS, () => this.#sendPing());
    const message = this.#completeUrls(parsed);
    if (message.type === "hello") {
      this.#handleHello(message);
      return;
    }
    if (Number.isInteger(message.seq)) {
      if (message.seq <= this.#seq) return;
      this.#seq = message.seq;
    }
    if (typeof message.cursor === "string") this.#cursor = message.cursor;
    if (message.type === "ready") this.#latest.set(message.camera, photoOf(message));
    const isAnswer = ["reply", "error", "pong"].includes(message.type) && message.request !== this.#authRequest;
    const asked = isAnswer ? this.#unanswered.shift() : null;
    this.#dispatch(message.type, message);
    if (message.code === "unauthorized" && this.#state !== "live" && !this.#token)
      this.#handleClose(CLOSE_UNAUTHORIZED);
    if (message.type === "reply") this.#handleReply(message);
    else if (message.type === "error") this.#handleError(message, asked);
    else if (message.type === "ready" || message.type === "failed") this.#handleCaptureEnd(message);
  }

  #handleHello(/** @type {any} */ hello) {
    const since = this.#cursor;
    const resumed = hello.recovered && hello.epoch === this.#epoch;
    if (!resumed) this.#seq = hello.seq; // after a replay, the last `seq` still shows which events are new
    this.#epoch = hello.epoch;
    this.#cursor = hello.cursor;
    this.#cameras = hello.cameras = hello.cameras.map((/** @type {CameraStatus} */ camera) => ({
      ...camera,
      latest: camera.latest && this.#completeUrls(camera.latest),
    }));
    for (const { name, latest } of this.#cameras) if (latest) this.#latest.set(name, latest);
    this.#liveSince = Date.now();
    this.#setState("live");
    if (!this.#stopError) this.#dispatch("hello", hello);
    if (!this.#stopError && since && !hello.recovered) this.#dispatch("missed", { since });
    for (const press of this.#presses) {
      const replayed = resumed && press.capture !== null; // the replayed events have its result
      if (press.socket !== this.#socket && !replayed) this.#sendPress(press);
    }
  }

  #handleReply(/** @type {any} */ reply) {
    for (const press of this.#presses) {
      if (press.request !== reply.request) continue;
      press.capture = reply.capture;
      press.outcome ??= reply.outcome;
      if (reply.outcome !== "cached") continue;
      this.#findPhoto(reply.snapshot).then((photo) => resolvePress(press, photo, reply.age), press.reject);
    }
  }

  /** Reject the press that an error is about. Without a `request`, it is the oldest unanswered message. */
  #handleError(/** @type {any} */ error, /** @type {Press | null | undefined} */ asked) {
    for (const press of this.#presses) {
      if (error.request === undefined ? press === asked : press.request === error.request) press.reject(errorOf(error));
    }
  }

  #handleCaptureEnd(/** @type {any} */ event) {
    for (const press of this.#presses) {
      if (press.capture !== event.capture) continue;
      if (event.type === "failed") press.reject(errorOf(event));
      else resolvePress(press, photoOf(event), (Date.parse(event.at) - Date.parse(event.captured_at)) / 1000);
    }
  }

  // ---- presses and photos

  /**
   * Send a press, for the first time or again. A server that was restarted, or has forgotten the key, takes it as a new
   * one. So `maxAge` grows by the time since, which allows the photo that the first request took.
   */
  #sendPress(/** @type {Press} */ press) {
    const now = Date.now();
    if (press.epoch !== this.#epoch || now - press.at > REQUEST_KEY_TTL_MS) {
      if (press.epoch !== null) {
        const camera = this.#cameras.find(({ name }) => name === (press.camera ?? name));
        press.maxAge = (press.maxAge ?? camera?.dead_time ?? 0) + Math.max(0, now - press.at) / 1000;
      }
      press.epoch = this.#epoch;
      press.at = now;
    }
    const { request, camera, maxAge } = press;
    if (this.#send({ type: "capture", request, camera, max_age: maxAge }, press)) press.socket = this.#socket;
  }

  /** @returns {Promise<Photo>} */
  async #findPhoto(/** @type {string} */ snapshot) {
    for (const photo of this.#latest.values()) if (photo.snapshot === snapshot) return photo;
    return this.#completeUrls(await this.#fetchJson(`api/snapshots/${encodeURIComponent(snapshot)}`));
  }

  async #fetchJson(/** @type {string} */ path) {
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

  /** Make the URLs absolute. A server without the setting `base_url` sends paths, which are relative to its URL. */
  #completeUrls(/** @type {any} */ message) {
    const complete = { ...message };
    for (const field of ["url", "page", "thumbnail"]) {
      if (typeof message[field] === "string")
        complete[field] = new URL(message[field].replace(/^\//, ""), this.#root).href;
    }
    return complete;
  }
}

/**
 * The push over HTTP, with the interface of a WebSocket: Server-Sent Events, and a POST for each press. While the reply to
 * a press is on its way, events wait, because they come after it on a WebSocket.
 */
class EventStream {
  /** @type {number} */
  readyState = WebSocket.CONNECTING;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number}) => void) | null} */
  onclose = null;
  /** @type {(() => void) | null} */
  onopen = null;
  #fetch;
  #abort = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #posts = 0; // presses without a reply so far
  /** @type {string[]} */
  #waiting = [];

  /** @param {URL} url @param {DogClient["fetch"]} fetch with the token, relative to the server's URL */
  constructor(url, fetch) {
    this.#fetch = fetch;
    this.#run(url);
  }

  send(/** @type {string} */ text) {
    const message = JSON.parse(text);
    if (message.type === "capture") this.#press(message);
    else if (message.type === "ping") this.#ping(message);
  }

  close(/** @type {number} */ code) {
    if (this.readyState === WebSocket.CLOSED) return;
    this.readyState = WebSocket.CLOSED;
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.onclose?.({ code });
  }

  async #run(/** @type {URL} */ url) {
    try {
      const response = await this.#fetch(url, { signal: this.#abort.signal, cache: "no-store" });
      if (!response.ok) throw new DogError((await response.json()).code, "The stream was refused.");
      this.readyState = WebSocket.OPEN;
      await this.#read(/** @type {ReadableStream<Uint8Array>} */ (response.body).getReader());
      this.close(1006);
    } catch (error) {
      const code = error instanceof DogError ? error.code : null;
      const [closeCode] = [...FINAL_CLOSE_CODES].find(([, [final]]) => final === code) ?? [1006];
      this.close(closeCode);
    }
  }

  async #read(/** @type {ReadableStreamDefaultReader<Uint8Array>} */ reader) {
    const decoder = new TextDecoder();
    let text = "";
    while (this.readyState === WebSocket.OPEN) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.close(1006), STREAM_SILENCE_MS);
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data:")) this.#waiting.push(line.slice(5));
      this.#deliver();
    }
  }

  #deliver() {
    while (!this.#posts && this.#waiting.length) this.onmessage?.({ data: String(this.#waiting.shift()) });
  }

  async #press(/** @type {any} */ { request, camera, max_age: maxAge }) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": request, Prefer: "respond-async" };
    const body = JSON.stringify({ camera, max_age: maxAge });
    this.#posts += 1;
    try {
      const response = await this.#fetch("api/captures", { method: "POST", headers, body, signal: this.#abort.signal });
      const { code, detail, outcome, capture, snapshot, retry_after: delay } = await response.json();
      const retryAfter = delay ?? (Number(response.headers.get("Retry-After")) || undefined);
      const reply = response.ok
        ? { type: "reply", outcome, capture, snapshot: snapshot?.snapshot }
        : { type: "error", code, message: detail };
      this.onmessage?.({ data: JSON.stringify({ ...reply, request, retry_after: retryAfter }) });
    } catch {
      this.close(1006); // the press is sent again
    } finally {
      this.#posts -= 1;
      this.#deliver();
    }
  }

  async #ping(/** @type {any} */ { request }) {
    const answer = await this.#fetch("healthz", { cache: "no-store", signal: this.#abort.signal }).catch(() => null);
    if (answer?.ok) this.onmessage?.({ data: JSON.stringify({ type: "pong", request }) });
  }
}

/** Return why a press was aborted. Safari 15 does not know the reason. */
function reasonOf(/** @type {AbortSignal} */ signal) {
  return "reason" in signal ? signal.reason : new DOMException("The press was aborted.", "AbortError");
}

/** @returns {Photo} */
function photoOf(/** @type {any} */ { type, seq, cursor, at, ...photo }) {
  return photo;
}

/** Return the DogError of an `error` or a `failed`. */
function errorOf(/** @type {any} */ { code, message, retry_after: retryAfter }) {
  return new DogError(code, message, { retryAfter });
}

function resolvePress(/** @type {Press} */ press, /** @type {Photo} */ photo, /** @type {number | undefined} */ age) {
  const outcome = /** @type {CapturedPhoto["outcome"]} */ (press.outcome);
  press.resolve({ ...photo, outcome, ...(age !== undefined && { age }) });
}
