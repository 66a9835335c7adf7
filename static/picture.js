/*
 * The photo in its frame. A new one is loaded and decoded out of sight and then laid over the old one, so that nobody
 * ever sees half a picture. The frame takes the picture's proportions. The new one is in the frame from the beginning, but
 * hidden: lost.js loads every image of the page again until it is there.
 */

/** What stands for the drawing, which is shown where there is no photo, in the place of a photo's id. */
export const DRAWING = "drawing";

export class Picture {
  #frame;
  #onShown;
  #wanted = "";
  #coming = null; // the image that is loading

  /** `onShown(photo)` is told when a photo that was wanted has come onto the page. */
  constructor(frame, onShown = () => {}) {
    this.#frame = frame;
    this.#onShown = onShown;
    const image = this.#images().at(-1);
    if (image.naturalWidth) this.#fit(image);
    else image.addEventListener("load", () => this.#fit(image), { once: true });
  }

  /** Show this photo, unless it is there or on its way; one that was wanted before and is still loading is given up. */
  async show(photo, alt) {
    if (this.#wanted === photo.snapshot) return;
    this.#wanted = photo.snapshot;
    this.#coming?.remove();
    const image = new Image();
    this.#coming = image;
    image.alt = alt;
    image.hidden = true;
    image.decoding = "async";
    const loaded = new Promise((resolve) => image.addEventListener("load", resolve, { once: true }));
    image.src = photo.url;
    this.#frame.append(image);
    await loaded;
    await decode(image);
    if (this.#coming !== image) return;
    this.#coming = null;
    this.#onShown(photo);
    await this.#lay(image);
  }

  /** The photo with this id is there already: the page came with it. */
  keep(id) {
    this.#wanted = id;
  }

  async #lay(image) {
    const before = this.#images();
    image.className = "photo arriving";
    image.hidden = false;
    before.at(-1).after(image);
    this.#fit(image);
    for (const old of before) old.alt = "";
    await Promise.allSettled(image.getAnimations().map(({ finished }) => finished));
    image.className = "photo";
    for (const old of before) old.remove();
  }

  #fit(image) {
    const { naturalWidth, naturalHeight } = image;
    if (naturalWidth) this.#frame.closest("main").style.setProperty("--photo", naturalWidth / naturalHeight);
  }

  #images() {
    return [...this.#frame.querySelectorAll(":scope > img:not([hidden])")];
  }
}

/** Decode an image if the page can be seen: a hidden one may never decode. */
async function decode(image) {
  if (document.hidden) return;
  await Promise.race([image.decode().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 500))]);
}
