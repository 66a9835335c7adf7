/*
 * The photo in its frame. A new photo is loaded and decoded while it is hidden, and then covers the old one, so that a
 * half-loaded image is never visible. The frame takes its proportions. The hidden image is in the document, because
 * lost.js loads images of the document again if they fail.
 */

/** The id of the drawing that is shown before the first photo. */
export const DRAWING = "drawing";

export class Picture {
  #frame;
  #onShown;
  #wanted;
  /** @type {HTMLImageElement | null} */
  #loading = null; // the image that is loading

  /**
   * `id` is that of the photo in the server's page. `onShown(photo)` is called when another one has been inserted.
   * @param {Element} frame @param {string} id @param {(photo: Snapshot | Drawing) => void} [onShown]
   */
  constructor(frame, id, onShown = () => {}) {
    this.#frame = frame;
    this.#wanted = id;
    this.#onShown = onShown;
    const [image] = this.#images().slice(-1);
    if (image.naturalWidth) this.#fit(image);
    else image.addEventListener("load", () => this.#fit(image), { once: true });
  }

  /**
   * Show this photo, unless it is shown or loading. An earlier one that is still loading is dropped.
   * @param {Snapshot | Drawing} photo @param {string} alt
   */
  async show(photo, alt) {
    if (this.#wanted === photo.snapshot) return;
    this.#wanted = photo.snapshot;
    this.#loading?.remove();
    const image = new Image();
    this.#loading = image;
    image.alt = alt;
    image.hidden = true;
    image.decoding = "async";
    const loaded = new Promise((resolve) => image.addEventListener("load", resolve, { once: true }));
    image.src = photo.url;
    this.#frame.append(image);
    await loaded;
    await decode(image);
    if (this.#loading !== image) return;
    this.#loading = null;
    this.#onShown(photo);
    await this.#insert(image);
  }

  async #insert(/** @type {HTMLImageElement} */ image) {
    const before = this.#images();
    image.className = "photo arriving";
    image.hidden = false;
    before[before.length - 1].after(image);
    this.#fit(image);
    for (const old of before) old.alt = "";
    await Promise.allSettled(image.getAnimations().map(({ finished }) => finished));
    image.className = "photo";
    for (const old of before) old.remove();
  }

  #fit(/** @type {HTMLImageElement} */ image) {
    const { naturalWidth, naturalHeight } = image;
    if (naturalWidth) this.#frame.closest("main")?.style.setProperty("--photo", String(naturalWidth / naturalHeight));
  }

  #images() {
    const images = this.#frame.querySelectorAll(":scope > img:not([hidden])");
    return /** @type {HTMLImageElement[]} */ ([...images]);
  }
}

/** Decode an image if the page is visible: a hidden page may never decode it. */
async function decode(/** @type {HTMLImageElement} */ image) {
  if (document.hidden) return;
  await Promise.race([image.decode().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 500))]);
}
