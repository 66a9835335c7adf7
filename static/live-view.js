/*
 * The live view, over the photo: an image that the server replaces frame by frame. Removing its URL ends the connection.
 * If it fails, it is requested again, with growing delays.
 */

const MIN_RETRY_DELAY_MS = 500; // doubles
const MAX_RETRY_DELAY_MS = 8000;

export class LiveView {
  #element;
  #main;
  /** @type {HTMLImageElement | null} */
  #image = null;
  /** @type {string | null} */
  #url = null;
  #timer = 0;
  #retryDelay = MIN_RETRY_DELAY_MS;

  constructor(/** @type {HTMLElement} */ element) {
    this.#element = element;
    this.#main = /** @type {HTMLElement} */ (element.closest("main"));
  }

  /**
   * `on` shows it over the photo; `url` is the stream's, or null for none.
   * @param {{on: boolean, url: string | null, alt: string}} now
   */
  write({ on, url, alt }) {
    this.#element.hidden = !on;
    this.#main.dataset.live = on ? "yes" : "no";
    if (!on) this.#main.style.removeProperty("--live");
    if (url === this.#url) return;
    this.#url = url;
    this.#retryDelay = MIN_RETRY_DELAY_MS;
    this.#end();
    if (url) this.#begin(url, alt);
  }

  /** @param {string} url @param {string} alt */
  #begin(url, alt) {
    const image = new Image();
    image.alt = alt;
    image.hidden = true;
    image.onload = () => this.#fit(image);
    image.onerror = () => {
      this.#end();
      this.#timer = setTimeout(() => this.#begin(url, alt), this.#retryDelay);
      this.#retryDelay = Math.min(MAX_RETRY_DELAY_MS, this.#retryDelay * 2);
    };
    image.src = url;
    this.#element.append(image);
    this.#image = image;
  }

  #end() {
    clearTimeout(this.#timer);
    if (!this.#image) return;
    this.#image.onload = this.#image.onerror = null;
    this.#image.removeAttribute("src");
    this.#image.remove();
    this.#image = null;
  }

  /** Show the first frame, and take its proportions. */
  #fit(/** @type {HTMLImageElement} */ image) {
    this.#retryDelay = MIN_RETRY_DELAY_MS;
    image.hidden = false;
    this.#main.style.setProperty("--live", String(image.naturalWidth / image.naturalHeight));
  }
}
