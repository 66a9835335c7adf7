/* The strip of the last photos, newest first. An item is a link to the photo's page; pressed plainly, it is shown here. */

import { snapshotOf } from "./state.js";
import { exactTime, fullTime } from "./time.js";

export class Strip {
  #nav;
  #list;
  #current = "";

  /** `onChoose(id)` is told which photo was pressed. */
  constructor(nav, list, onChoose) {
    this.#nav = nav;
    this.#list = list;
    list.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      onChoose(link.dataset.snapshot);
    });
  }

  /** The photos that the page came with. */
  read() {
    return [...this.#list.querySelectorAll("a")].map(({ dataset }) => snapshotOf(dataset));
  }

  write(photos, current, now) {
    this.#nav.hidden = !photos.length;
    const items = new Map([...this.#list.children].map((item) => [item.firstElementChild.dataset.snapshot, item]));
    const wanted = photos.map((photo) => items.get(photo.snapshot) ?? createItem(photo));
    for (const item of items.values()) if (!wanted.includes(item)) item.remove();
    for (const [at, item] of wanted.entries()) {
      if (this.#list.children[at] !== item) this.#list.insertBefore(item, this.#list.children[at] ?? null);
    }
    for (const [at, item] of wanted.entries()) this.#mark(item.firstElementChild, photos[at], current, now);
    if (current !== this.#current) this.#reveal(current);
  }

  #mark(link, photo, current, now) {
    const at = Date.parse(photo.captured_at);
    const alt = `Photo of ${exactTime(at, now)}`;
    const image = link.firstElementChild;
    if (image.alt !== alt) [image.alt, link.title] = [alt, fullTime(at)];
    if (photo.snapshot === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }

  /** Bring the current one into sight, and the focus along where it was in the strip. */
  #reveal(current) {
    this.#current = current;
    const link = this.#list.querySelector("[aria-current]");
    if (!link) return;
    const { left, right } = link.getBoundingClientRect();
    const strip = this.#list.getBoundingClientRect();
    if (left < strip.left) this.#list.scrollLeft -= strip.left - left + 8;
    else if (right > strip.right) this.#list.scrollLeft += right - strip.right + 8;
    if (this.#list.contains(document.activeElement)) link.focus({ preventScroll: true });
  }
}

function createItem(photo) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = photo.page;
  Object.assign(link.dataset, photo);
  const image = new Image(60, 60);
  image.decoding = "async";
  image.src = photo.thumbnail;
  link.append(image);
  item.append(link);
  return item;
}
