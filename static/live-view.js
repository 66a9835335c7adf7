/*
 * The live view, over the photo. Each frame arrives over a WebSocket of its own (docs/protocol.md), is drawn, and is
 * acknowledged: the server sends the next one only then. So this module knows each frame, and reports when the picture is
 * old. It connects again, with growing delays, when the connection is lost or silent. If no WebSocket opens, as behind
 * some proxies, it reads /preview.mjpg, which takes one of the few HTTP connections of the browser.
 */

import { rootUrl } from "./page.js";

const MIN_RETRY_DELAY_MS = 500; // doubles
const MAX_RETRY_DELAY_MS = 8000;
const SILENCE_TIMEOUT_MS = 6000; // of the WebSocket: a message comes at least every 2 s
const HTTP_SILENCE_TIMEOUT_MS = 20_000; // has no such messages
const MAX_FRAME_AGE_MS = 5000; // an older picture is stale, unless the frames before it had long intervals, too
const MAX_FRAME_AGE_INTERVALS = 3;
const UNOPENED_BEFORE_HTTP = 3; // WebSockets in a row that did not open

export class LiveView {
  #element;
  #main;
  #onVideo;
  /** @type {HTMLImageElement | null} */
  #image = null;
  #imageUrl = ""; // the object URL of the frame in the image
  /** @type {string | null} */
  #query = null;
  #alt = "";
  #connection = new AbortController(); // aborted at its end
  #unopened = 0;
  #retryDelay = MIN_RETRY_DELAY_MS;
  #retryTimer = 0;
  #silenceTimer = 0;
  #ageTimer = 0;
  #drawnAt = 0;

  /**
   * `onVideo` is called with "live" for each frame, with "stale" if the picture is old, and with "lost" at the loss of
   * the connection; and with the age of the picture in ms.
   * @param {HTMLElement} element @param {(state: State["video"]["state"], age: number) => void} onVideo
   */
  constructor(element, onVideo) {
    this.#element = element;
    this.#main = /** @type {HTMLElement} */ (element.closest("main"));
    this.#onVideo = onVideo;
  }

  /**
   * `on` shows it over the photo; `query` is that of the stream's URL, or null for none.
   * @param {{on: boolean, query: string | null, alt: string}} now
   */
  write({ on, query, alt }) {
    this.#element.hidden = !on;
    this.#main.dataset.live = on ? "yes" : "no";
    if (!on) this.#main.style.removeProperty("--live");
    if (query === this.#query) return;
    this.#end();
    this.#query = query;
    this.#alt = alt;
    this.#unopened = 0;
    this.#retryDelay = MIN_RETRY_DELAY_MS;
    if (query !== null) this.#connect();
  }

  #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    if (this.#unopened < UNOPENED_BEFORE_HTTP) this.#openSocket(connection.signal);
    else {
      this.#unopened = 0; // next time, try a WebSocket again
      this.#readHttp(connection.signal).then(
        () => this.#lose(connection.signal),
        () => this.#lose(connection.signal),
      );
    }
  }

  #openSocket(/** @type {AbortSignal} */ signal) {
    const url = new URL(`preview${this.#query}`, rootUrl());
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    /** @type {ArrayBuffer[]} */
    let pieces = [];
    this.#unopened += 1;
    this.#limitSilence(signal, SILENCE_TIMEOUT_MS);
    signal.addEventListener("abort", () => socket.close());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => (this.#unopened = 0);
    socket.onclose = () => this.#lose(signal);
    socket.onmessage = async ({ data }) => {
      if (signal.aborted || typeof data === "string") return;
      this.#limitSilence(signal, SILENCE_TIMEOUT_MS);
      if (data.byteLength) {
        pieces.push(data);
        return;
      }
      const frame = pieces;
      pieces = [];
      clearTimeout(this.#silenceTimer); // the server waits for the answer
      if (frame.length) await this.#draw(frame, signal);
      if (signal.aborted) return;
      socket.send("");
      this.#limitSilence(signal, SILENCE_TIMEOUT_MS);
    };
  }

  /** Read the frames of the multipart response until it ends. */
  async #readHttp(/** @type {AbortSignal} */ signal) {
    this.#limitSilence(signal, HTTP_SILENCE_TIMEOUT_MS);
    const { body, ok } = await fetch(new URL(`preview.mjpg${this.#query}`, rootUrl()), { signal });
    if (!body || !ok) return;
    const reader = body.getReader();
    let head = "";
    /** @type {Uint8Array<ArrayBuffer>[]} */
    let pieces = [];
    for (let left = 0; ;) {
      let { value: data } = await reader.read();
      if (!data) return;
      this.#limitSilence(signal, HTTP_SILENCE_TIMEOUT_MS);
      while (data.length) {
        const piece = data.subarray(0, left || 1);
        data = data.subarray(piece.length);
        if (left) {
          pieces.push(piece);
          left -= piece.length;
          if (left) continue;
          await this.#draw(pieces, signal);
          pieces = [];
        } else {
          head += String.fromCharCode(piece[0]);
          left = Number(/Content-Length: (\d+)\r\n\r\n$/.exec(head)?.[1] ?? 0);
          if (left) head = "";
        }
      }
    }
  }

  /**
   * Draw a frame. The browser does not report a draw, but its next one follows `requestAnimationFrame`.
   * @param {BlobPart[]} pieces @param {AbortSignal} signal
   */
  async #draw(pieces, signal) {
    const image = (this.#image ??= this.#createImage());
    URL.revokeObjectURL(this.#imageUrl);
    this.#imageUrl = URL.createObjectURL(new Blob(pieces, { type: "image/jpeg" }));
    await new Promise((resolve) => {
      image.onload = image.onerror = resolve;
      image.src = this.#imageUrl;
    });
    if (signal.aborted) return;
    image.hidden = !image.naturalWidth; // a frame that is not an image
    if (!image.hidden) this.#reportFrame(image);
    await new Promise(requestAnimationFrame);
  }

  #createImage() {
    const image = new Image();
    image.alt = this.#alt;
    image.hidden = true;
    image.decoding = "sync"; // or some browsers draw nothing until a frame is decoded
    this.#element.append(image);
    return image;
  }

  #reportFrame(/** @type {HTMLImageElement} */ image) {
    const interval = this.#age();
    this.#drawnAt = performance.now();
    this.#retryDelay = MIN_RETRY_DELAY_MS;
    this.#main.style.setProperty("--live", String(image.naturalWidth / image.naturalHeight));
    clearTimeout(this.#ageTimer);
    const maxAge = Math.max(MAX_FRAME_AGE_MS, MAX_FRAME_AGE_INTERVALS * interval);
    this.#ageTimer = setTimeout(() => this.#onVideo("stale", this.#age()), maxAge);
    this.#onVideo("live", 0);
  }

  #age() {
    return this.#drawnAt ? performance.now() - this.#drawnAt : 0;
  }

  /** Drop the connection if this is not called again within this time. */
  #limitSilence(/** @type {AbortSignal} */ signal, /** @type {number} */ time) {
    if (signal.aborted) return;
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#lose(signal), time);
  }

  /** Keep the last frame, and connect again. */
  #lose(/** @type {AbortSignal} */ signal) {
    if (signal.aborted) return;
    this.#disconnect();
    this.#retryTimer = setTimeout(() => this.#connect(), this.#retryDelay * (0.5 + Math.random() / 2));
    this.#retryDelay = Math.min(MAX_RETRY_DELAY_MS, this.#retryDelay * 2);
    this.#onVideo("lost", this.#age());
  }

  #disconnect() {
    for (const timer of [this.#retryTimer, this.#silenceTimer, this.#ageTimer]) clearTimeout(timer);
    this.#connection.abort();
  }

  #end() {
    this.#disconnect();
    this.#drawnAt = 0;
    this.#image?.remove();
    this.#image = null;
    URL.revokeObjectURL(this.#imageUrl);
    this.#imageUrl = "";
  }
}
