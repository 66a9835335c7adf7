/* Write the state into the document of the live page. Writing the same state twice changes nothing. */

import { loginUrl } from "./login.js";
import { create, element } from "./page.js";
import { DRAWING, Picture } from "./picture.js";
import { serverNow } from "./server-clock.js";
import { cameraPhase, currentCamera, isLoggedOut, isOwn, mayPress, streams } from "./state.js";
import { writeMoment } from "./time.js";
import { LiveView } from "./live-view.js";
import { altOf, badgeOf, liveTextOf, newestOf, qualityOf, statusOf, titleOf, videoOf } from "./words.js";

/** @param {keyof PageElements} id @param {string} text */
function write(id, text) {
  const target = /** @type {HTMLElement} */ (element(id));
  if (target.textContent !== text) target.textContent = text;
}

export class View {
  #picture;
  #strip;
  #cameraLinks = element("cameras")?.querySelectorAll("a") ?? []; // none for a single camera
  #liveView;
  /** @type {State | null} */
  #state = null; // the last one written
  #captioned; // the photo on the page, or null

  /**
   * `shown` is the photo in the server's page, or null. `onVideo` is that of LiveView.
   * @param {Strip} strip @param {Snapshot | null} shown
   * @param {ConstructorParameters<typeof LiveView>[1]} onVideo
   */
  constructor(strip, shown, onVideo) {
    this.#strip = strip;
    this.#liveView = new LiveView(element("viewfinder"), onVideo);
    this.#captioned = shown;
    this.#picture = new Picture(element("frame"), shown ? shown.snapshot : DRAWING, (photo) => {
      this.#captioned = "capture" in photo ? photo : null;
      if (!this.#captioned) element("frame").removeAttribute("data-snapshot");
      element("link-field").hidden = true;
      if (this.#state) this.write(this.#state, serverNow());
    });
    element("cameras")?.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest" });
  }

  /** @param {State} state @param {number} now */
  write(state, now) {
    this.#state = state;
    this.#writeConnection(state);
    this.#writeCamera(state, now);
    this.#writeRole(state);
    this.#writeLive(state, now);
    this.#writePhoto(state, now);
    this.#writeNotice(state);
    const title = titleOf(state, now);
    if (document.title !== title) document.title = title;
  }

  #writeConnection(/** @type {State} */ state) {
    const { connection } = state;
    element("booth").dataset.connection = connection.state;
    element("badge").dataset.connection = connection.state;
    write("badge-text", badgeOf(state));
    if (state.viewers !== null) write("viewers", `${state.viewers} watching`);
  }

  /** @param {State} state @param {number} now */
  #writeCamera(state, now) {
    const { phase, share } = cameraPhase(currentCamera(state), now);
    const connecting = state.connection.state === "connecting";
    const live = state.connection.state === "live";
    const heard = (live || connecting) && state.press !== null;
    const shutter = element("shutter");
    shutter.dataset.phase = live ? phase : "unknown";
    shutter.dataset.heard = heard ? "yes" : "no";
    shutter.style.setProperty("--left", (live ? share : 0).toFixed(3)); // its ring counts the dead time down
    shutter.setAttribute("aria-disabled", String(!live && !connecting));
    if (connecting && !heard) return; // keep the text of the server's page
    const { text, detail } = statusOf(state, now);
    const status = element("status");
    if (status.textContent === text + detail) return;
    status.replaceChildren(create("span", {}, text), ...(detail ? [create("small", {}, detail)] : []));
  }

  /** Show the shutter, or the link to log in. The focus moves to the one that is shown. */
  #writeRole(/** @type {State} */ state) {
    const isOut = isLoggedOut(state);
    const parts = [element("shutter"), element("log-in-again"), element("status")];
    const isFocused = parts.some((part) => part === document.activeElement);
    element("booth").dataset.role = String(state.role);
    element("press").hidden = !mayPress(state);
    element("log-in-again").hidden = !isOut;
    document.querySelector(".leaving")?.toggleAttribute("hidden", isOut);
    if (isOut) element("log-in-again").href = loginUrl();
    const next = parts.find((part) => !part.closest("[hidden]"));
    if (isFocused && document.activeElement !== next) next?.focus({ preventScroll: true });
  }

  /** @param {State} state @param {number} now */
  #writeLive(state, now) {
    const { camera, cameras, live } = state;
    for (const link of this.#cameraLinks) {
      const status = cameras[link.dataset.camera]?.state;
      if (status) link.dataset.state = status;
      if (status) link.title = status === "offline" ? "offline" : "";
      link.hash = live ? "#live" : "";
    }
    const button = element("live-view");
    const known = currentCamera(state);
    if (known) button.hidden = !known.preview || isLoggedOut(state);
    button.setAttribute("aria-pressed", String(live));
    const query = streams(state) ? `?camera=${encodeURIComponent(String(camera))}` : null;
    element("viewfinder").dataset.video = state.video.state;
    write("video", videoOf(state, now));
    write("viewfinder-text", liveTextOf(state)); // until the first frame
    this.#liveView.write({ on: live, query, alt: `What the camera ${camera} sees now` });
  }

  /** @param {State} state @param {number} now */
  #writePhoto(state, now) {
    const { shown } = state;
    this.#strip.write(state.photos, state.live ? "" : (shown?.snapshot ?? ""), now);
    const newest = newestOf(state);
    element("newest").hidden = !newest;
    if (newest) write("newest-label", newest);
    this.#writeAbout(state);
    const drawing = { snapshot: DRAWING, url: element("frame").dataset.drawing };
    if (shown) this.#picture.show(shown, altOf(shown, now));
    else this.#picture.show(drawing, "A drawing of a dog with a camera");
    if (this.#captioned) this.#writeCaption(state, this.#captioned, now);
  }

  /** Show the caption of the photo, or a text for the drawing or the live view. */
  #writeAbout(/** @type {State} */ state) {
    const { live } = state;
    const photo = this.#captioned && !live;
    element("about").hidden = element("actions").hidden = element("enlarge").hidden = !photo;
    element("none").hidden = Boolean(photo);
    if (live) write("none", streams(state) && mayPress(state) ? "Live view — press to take a photo" : "Live view");
    else write("none", "No photo yet — this is a drawing");
  }

  /** @param {State} state @param {Snapshot} photo @param {number} now */
  #writeCaption(state, photo, now) {
    element("frame").dataset.snapshot = photo.snapshot;
    element("frame").dataset.url = photo.url;
    element("frame").dataset.mine = isOwn(state, photo) ? "yes" : "no";
    element("open").href = photo.page;
    writeMoment(element("when"), Date.parse(photo.captured_at), now);
    const quality = qualityOf(photo);
    element("quality").hidden = !quality;
    write("quality", quality);
    const whose = element("whose");
    if (isOwn(state, photo) === (whose.firstElementChild !== null)) return;
    whose.replaceChildren(...(isOwn(state, photo) ? [create("span", { className: "chip" }, "Your photo")] : []));
  }

  #writeNotice(/** @type {State} */ { notice }) {
    element("notice").hidden = !notice;
    if (notice) write("notice-text", notice.text);
    if (notice) element("notice").dataset.kind = notice.kind;
  }
}
