/* The links to the cameras, with the state of each. There are none for a single camera. */

export class Cameras {
  #links;

  /** `nav` is null for a single camera. */
  constructor(/** @type {Element | null} */ nav) {
    this.#links = nav ? [...nav.querySelectorAll("a")] : [];
    nav?.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest" });
  }

  /**
   * `cameras` are by name; if `live`, the links open the live view.
   * @param {State["cameras"]} cameras @param {boolean} live
   */
  write(cameras, live) {
    for (const link of this.#links) {
      const state = cameras[link.dataset.camera]?.state;
      if (state) link.dataset.state = state;
      if (state) link.title = state === "offline" ? "offline" : "";
      link.hash = live ? "#live" : "";
    }
  }
}
