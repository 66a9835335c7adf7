/*
 * The photo in its frame. A new photo is loaded and decoded while it is hidden, and then covers the old one, so that a
 * half-loaded image is never visible. The frame takes its proportions. If loading takes longer, the frame takes them and
 * the photo's average colour at once, and the old photo disappears. The hidden image is in the document, because lost.js
 * loads images of the document again if they fail.
 */

/** The id of the drawing that is shown before the first photo. */
export const DRAWING = "drawing";

const COLOR_DELAY_MS = 100; // a photo that is loaded sooner covers the old one directly
const SCALED_WIDTHS = [640, 1280, 1920, 2560]; // of the copies that the server makes

export class Picture {
  #frame;
  #onShown;
  #wanted;
  /** @type {HTMLImageElement | null} */
  #loading = null; // the image that is loading
  /** @type {Snapshot | Drawing | null} */
  #announced = null; // the photo that is loading, if its colour is shown

  /**
   * `id` is that of the photo in the server's page. `onShown(photo)` is called when another one, or its colour, is shown.
   * @param {HTMLElement} frame @param {string} id @param {(photo: Snapshot | Drawing) => void} [onShown]
   */
  constructor(frame, id, onShown = () => {}) {
    this.#frame = frame;
    this.#wanted = id;
    this.#onShown = onShown;
    const [image] = this.#images().slice(-1);
    if (image.naturalWidth) {
      this.#fit(image);
      return;
    }
    const { color } = frame.dataset;
    if (color) this.#showColor(color, Number(image.getAttribute("width")) / Number(image.getAttribute("height")));
    image.addEventListener("load", () => this.#fit(image), { once: true });
  }

  /**
   * Show this photo, unless it is shown or loading. An earlier one that is still loading is dropped.
   * @param {Snapshot | Drawing} photo @param {string} alt
   */
  async show(photo, alt) {
    if (this.#wanted === photo.snapshot) return;
    this.#wanted = photo.snapshot;
    this.#loading?.remove();
    this.#announced = null;
    const image = new Image();
    this.#loading = image;
    image.alt = alt;
    image.hidden = true;
    image.decoding = "async";
    const loaded = new Promise((resolve) => image.addEventListener("load", resolve, { once: true }));
    if ("width" in photo) Object.assign(image, sourcesOf(photo));
    image.src = photo.url;
    this.#frame.append(image);
    setTimeout(() => this.#loading === image && "color" in photo && this.#announce(photo), COLOR_DELAY_MS);
    await loaded;
    await decode(image);
    if (this.#loading !== image) return;
    this.#loading = null;
    if (this.#announced !== photo) this.#onShown(photo);
    this.#announced = null;
    await this.#insert(image);
  }

  /** Show the colour of a photo that is still loading. */
  #announce(/** @type {Snapshot} */ photo) {
    if (!photo.color) return;
    this.#announced = photo;
    for (const old of this.#images()) old.classList.add("covered");
    this.#showColor(photo.color, photo.width / photo.height);
    this.#onShown(photo);
  }

  async #insert(/** @type {HTMLImageElement} */ image) {
    const before = this.#images();
    image.className = "photo arriving";
    image.hidden = false;
    before[before.length - 1].after(image);
    this.#setRatio(image.naturalWidth / image.naturalHeight);
    for (const old of before) old.alt = "";
    await Promise.allSettled(image.getAnimations().map(({ finished }) => finished));
    image.className = "photo";
    for (const old of before) old.remove();
    if (!this.#announced) this.#showColor("");
  }

  #fit(/** @type {HTMLImageElement} */ { naturalWidth, naturalHeight }) {
    if (!this.#loading) this.#showColor("");
    if (naturalWidth) this.#setRatio(naturalWidth / naturalHeight);
  }

  #setRatio(/** @type {number} */ ratio) {
    this.#frame.closest("main")?.style.setProperty("--photo", String(ratio));
  }

  #showColor(/** @type {string} */ color, ratio = 0) {
    this.#frame.style.background = color;
    if (ratio) this.#setRatio(ratio);
  }

  #images() {
    const images = this.#frame.querySelectorAll(":scope > img:not([hidden])");
    return /** @type {HTMLImageElement[]} */ ([...images]);
  }
}

/**
 * Return the sources of an image, from which the browser chooses. `sizes` is the width that the photo has if it is as
 * large as the window. The template parts.html has the same.
 * @param {Snapshot} photo
 */
function sourcesOf({ page, url, width, height }) {
  const copies = SCALED_WIDTHS.filter((each) => each < width).map((each) => `${page}/${each}.jpg ${each}w`);
  return {
    sizes: `min(100vw, ${Math.ceil((100 * width) / height)}vh)`,
    srcset: [...copies, `${url} ${width}w`].join(", "),
  };
}

/** Decode an image if the page is visible: a hidden page may never decode it. */
async function decode(/** @type {HTMLImageElement} */ image) {
  if (document.hidden) return;
  await Promise.race([image.decode().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 500))]);
}
