/*
 * One WebSocket to dog.v1 that heals itself. It knows nothing of the document: whoever owns it says when the network or
 * the window came back (`hurry`).
 *
 * - After a loss it comes back with full jitter: a random part of 0.5 s, doubling to 20 s. Codes 4401 and 4403 end it.
 * - It resumes by the cursor of the last message it handed on, so that nothing is lost and repeats can be told by `seq`.
 * - A browser can't see WebSocket pings, so after 20 s of silence it asks with a `ping` of its own, and gives the
 *   connection up when nothing comes in 10 s. An ended connection is left at once, without waiting for its farewell.
 */

const FIRST_DELAY = 500; // ms, and the ones below too
const LAST_DELAY = 20_000;
const STEADY = 10_000; // a connection that lasted this long starts the delays anew
const SILENCE = 20_000;
const PATIENCE = 10_000;
const FINAL_CODES = new Set([4401, 4403]);

export class Connection {
  #url;
  #onMessage;
  #onLost;
  #onRefused;
  #socket = null;
  #cursor = null;
  #live = false;
  #liveSince = 0;
  #attempts = 0;
  #timer = null;
  #state = "closed"; // closed, waiting, open (or opening)

  /**
   * `url` is the address of `/ws`; `onMessage(message)` gets every message as an object, `hello` first each time;
   * `onLost()` is told once for every failed try; `onRefused(code)` when it will not try again.
   */
  constructor(url, { onMessage, onLost = () => {}, onRefused = () => {} }) {
    this.#url = new URL(url);
    this.#onMessage = onMessage;
    this.#onLost = onLost;
    this.#onRefused = onRefused;
  }

  get live() {
    return this.#live;
  }

  /** Connect, unless it is connected or about to be. */
  open() {
    if (this.#state === "open") return;
    this.#state = "open";
    const url = new URL(this.#url);
    if (this.#cursor) url.searchParams.set("since", this.#cursor);
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.#lose(code);
    this.#expect(PATIENCE);
  }

  /** Leave for good, or until `open`. */
  close() {
    this.#leave(1000);
    this.#state = "closed";
  }

  /** Say something. False when it can't be said, because the connection is not live. */
  send(message) {
    if (!this.#live || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** The network or the window came back: try now rather than later, or see whether the connection still lives. */
  hurry() {
    if (this.#state === "waiting") {
      clearTimeout(this.#timer);
      this.open();
    } else if (this.#live) {
      this.#ask();
    }
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // not ours; the silence timer judges the connection
    }
    if (message.type === "hello") {
      this.#live = true;
      this.#liveSince = Date.now();
    }
    this.#timer = this.#rearm(SILENCE, () => this.#ask());
    this.#onMessage(message);
    if (typeof message.cursor === "string") this.#cursor = message.cursor;
  }

  #ask() {
    if (this.send({ type: "ping" })) this.#expect(PATIENCE);
    else this.#lose(1006);
  }

  /** Something must be heard within this time. */
  #expect(time) {
    this.#timer = this.#rearm(time, () => this.#lose(1006));
  }

  #rearm(time, callback) {
    clearTimeout(this.#timer);
    return setTimeout(callback, time);
  }

  #leave(code) {
    clearTimeout(this.#timer);
    this.#live = false;
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
    this.#socket = null;
  }

  #lose(code) {
    if (this.#live && Date.now() - this.#liveSince > STEADY) this.#attempts = 0;
    this.#leave(1000);
    if (FINAL_CODES.has(code)) {
      this.#state = "closed";
      this.#onRefused(code);
      return;
    }
    this.#state = "waiting";
    const delay = Math.random() * Math.min(LAST_DELAY, FIRST_DELAY * 2 ** this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.open(), delay);
    this.#onLost();
  }
}
