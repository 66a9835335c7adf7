/*
 * The photo in its frame. A new one is loaded and decoded out of sight and then laid over the old one, so that nobody
 * ever sees half a picture. The frame takes the picture's proportions. What can't be loaded is tried again a few times.
 */

const TRIES = 5;
const FIRST_PAUSE = 1000; // ms before the second try, doubling

/** What stands for the drawing, which is shown where there is no photo, in the place of a photo's id. */
export const DRAWING = "drawing";

export class Picture {
  #frame;
  #onShown;
  #wanted = "";

  /** `onShown(photo)` is told when a photo that was wanted has come onto the page. */
  constructor(frame, onShown = () => {}) {
    this.#frame = frame;
    this.#onShown = onShown;
    const image = this.#images().at(-1);
    if (image.complete) this.#fit(image);
    else image.addEventListener("load", () => this.#fit(image), { once: true });
  }

  /** Show this photo, unless it is there or on its way; one that was wanted before and is still loading is given up. */
  async show(photo, alt) {
    if (this.#wanted === photo.snapshot) return;
    this.#wanted = photo.snapshot;
    for (let tries = 0; tries < TRIES; tries += 1) {
      const image = await load(photo.url);
      if (this.#wanted !== photo.snapshot) return;
      if (image) {
        image.alt = alt;
        this.#onShown(photo);
        await this.#lay(image);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE * 2 ** tries));
      if (this.#wanted !== photo.snapshot) return;
    }
  }

  /** The photo with this id is there already: the page came with it. */
  keep(id) {
    this.#wanted = id;
  }

  async #lay(image) {
    const before = this.#images();
    image.className = "photo arriving";
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
    return [...this.#frame.querySelectorAll(":scope > img")];
  }
}

/** An image that is loaded, and decoded where the page can be seen (a hidden one may never decode); null where it can't be had. */
async function load(url) {
  const image = new Image();
  const arrived = new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
  });
  image.decoding = "async";
  image.src = url;
  if (!(await arrived)) return null;
  if (!document.hidden) {
    await Promise.race([image.decode().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 500))]);
  }
  return image;
}
