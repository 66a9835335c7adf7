/* The strip of the last photos, newest first. Each is a link to the photo's page; a plain click shows the photo here. */

import { create, find } from "./page.js";
import { snapshotOf } from "./state.js";
import { exactTime, fullTime } from "./time.js";

const SCROLL_MARGIN_PX = 8;

export class Strip {
  #nav;
  #list;
  #current = "";

  /**
   * `onChoose(id)` is called for a click on a photo.
   * @param {HTMLElement} nav @param {HTMLElement} list @param {(id: string) => void} onChoose
   */
  constructor(nav, list, onChoose) {
    this.#nav = nav;
    this.#list = list;
    list.addEventListener("click", (event) => {
      const link = /** @type {Element} */ (event.target).closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      onChoose(link.dataset.snapshot);
    });
  }

  /** The maximum number of photos, from the server. */
  get length() {
    return Number(this.#nav.dataset.length);
  }

  /** Return the photos of the server's page. */
  read() {
    return [...this.#list.querySelectorAll("a")].map(({ dataset }) => snapshotOf(dataset));
  }

  /** @param {Snapshot[]} photos @param {string} current @param {number} now */
  write(photos, current, now) {
    this.#nav.hidden = !photos.length;
    const focused = this.#list.contains(document.activeElement);
    const items = new Map([...this.#list.children].map((item) => [find(item, "a").dataset.snapshot, item]));
    const wanted = photos.map((photo) => items.get(photo.snapshot) ?? createItem(photo));
    for (const item of items.values()) if (!wanted.includes(item)) item.remove();
    for (const [at, item] of wanted.entries()) {
      if (this.#list.children[at] !== item) this.#list.insertBefore(item, this.#list.children[at] ?? null);
    }
    for (const [at, item] of wanted.entries()) this.#mark(find(item, "a"), photos[at], current, now);
    if (current !== this.#current) this.#reveal(current);
    if (focused && !this.#list.contains(document.activeElement)) {
      (this.#currentLink() ?? this.#list.querySelector("a"))?.focus({ preventScroll: true });
    }
  }

  /** @param {HTMLAnchorElement} link @param {Snapshot} photo @param {string} current @param {number} now */
  #mark(link, photo, current, now) {
    const at = Date.parse(photo.captured_at);
    const alt = `Photo of ${exactTime(at, now)}`;
    const image = find(link, "img");
    if (image.alt !== alt) [image.alt, link.title] = [alt, fullTime(at)];
    if (photo.snapshot === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }

  /** @returns {HTMLElement | null} */
  #currentLink() {
    return this.#list.querySelector("[aria-current]");
  }

  /** Scroll to the current photo, and focus it if the focus was in the strip. */
  #reveal(/** @type {string} */ current) {
    this.#current = current;
    const link = this.#currentLink();
    if (!link) return;
    const photo = link.getBoundingClientRect();
    const strip = this.#list.getBoundingClientRect();
    this.#list.scrollBy(
      scrollDistance(photo.left - strip.left, photo.right - strip.right),
      scrollDistance(photo.top - strip.top, photo.bottom - strip.bottom),
    );
    if (this.#list.contains(document.activeElement)) link.focus({ preventScroll: true });
  }
}

/**
 * Return how far to scroll for an item this far beyond the strip's beginning (below 0) or end (above 0).
 * @param {number} beginning @param {number} end
 */
function scrollDistance(beginning, end) {
  if (beginning < 0) return beginning - SCROLL_MARGIN_PX;
  return end > 0 ? end + SCROLL_MARGIN_PX : 0;
}

function createItem(/** @type {Snapshot} */ photo) {
  const image = new Image(60, 60);
  image.loading = "lazy"; // most of the strip is out of view
  image.decoding = "async";
  image.src = photo.thumbnail;
  const link = create("a", { href: photo.page }, image);
  Object.assign(link.dataset, snapshotOf(photo));
  return create("li", {}, link);
}
