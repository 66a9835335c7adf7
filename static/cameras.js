/* The chooser, where there are several cameras: a link for each, marked with what its camera does. */

export class Cameras {
  #links;

  /** `nav` is null where there is one camera alone. */
  constructor(nav) {
    this.#links = nav ? [...nav.querySelectorAll("a")] : [];
    nav?.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest" });
  }

  /** `cameras` are by name; with `live` the links lead to the live view too. */
  write(cameras, live) {
    for (const link of this.#links) {
      const state = cameras[link.dataset.camera]?.state;
      if (state) link.dataset.state = state;
      if (state) link.title = state === "offline" ? "offline" : "";
      link.hash = live ? "#live" : "";
    }
  }
}
