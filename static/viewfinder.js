/*
 * The live view, over the photo: an image that the server goes on with, frame after frame. It is let go of by taking its
 * address away, which ends the connection. Where it can't be had it is asked for again, with growing pauses.
 */

const FIRST_PAUSE = 500; // ms before it is asked for again, doubling
const LAST_PAUSE = 8000;

export class Viewfinder {
  #element;
  #main;
  #image = null;
  #url = null;
  #timer = null;
  #pause = FIRST_PAUSE;

  constructor(element) {
    this.#element = element;
    this.#main = element.closest("main");
  }

  /** `on` while it covers the photo; `url` is its stream's, or null while there is none; `text` is said until it is seen. */
  write({ on, url, text, alt }) {
    this.#element.hidden = !on;
    this.#main.dataset.live = on ? "yes" : "no";
    if (!on) this.#main.style.removeProperty("--live");
    const line = this.#element.firstElementChild;
    if (line.textContent !== text) line.textContent = text;
    if (url === this.#url) return;
    this.#url = url;
    this.#pause = FIRST_PAUSE;
    this.#end();
    if (url) this.#begin(alt);
  }

  #begin(alt) {
    const image = new Image();
    image.alt = alt;
    image.hidden = true;
    image.onload = () => this.#fit(image);
    image.onerror = () => {
      this.#end();
      this.#timer = setTimeout(() => this.#begin(alt), this.#pause);
      this.#pause = Math.min(LAST_PAUSE, this.#pause * 2);
    };
    image.src = this.#url;
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

  /** The first frame is there: the frame takes its proportions. */
  #fit(image) {
    this.#pause = FIRST_PAUSE;
    image.hidden = false;
    this.#main.style.setProperty("--live", image.naturalWidth / image.naturalHeight);
  }
}
