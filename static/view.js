/* The live page: writes the state into the document, and nothing else. Writing the same state twice changes nothing. */

import { Picture } from "./picture.js";
import { cameraPhase, currentCamera, isOwn } from "./state.js";
import { writeMoment } from "./time.js";
import { altOf, badgeOf, newestOf, statusOf, titleOf, viewersOf } from "./words.js";

const element = (id) => document.getElementById(id);

function write(id, text) {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text;
}

export class View {
  #picture;
  #shutter;
  #strip;
  #copyLink;
  #state = null; // written last
  #captioned; // the photo that is on the page, which the caption is about

  /** `shown` is the photo that the page came with, or null. */
  constructor({ shutter, strip, copyLink, shown }) {
    this.#shutter = shutter;
    this.#strip = strip;
    this.#copyLink = copyLink;
    this.#captioned = shown;
    this.#picture = new Picture(element("frame"), (photo) => {
      this.#captioned = photo;
      this.#copyLink.clear();
      this.write(this.#state, Date.now());
    });
    if (shown) this.#picture.keep(shown.snapshot);
  }

  write(state, now) {
    this.#state = state;
    this.#writeConnection(state);
    this.#writeCamera(state, now);
    this.#writePhoto(state, now);
    this.#writeNotice(state);
    const title = titleOf(state, now);
    if (document.title !== title) document.title = title;
  }

  #writeConnection(state) {
    const { connection } = state;
    element("booth").dataset.connection = connection.state;
    element("badge").dataset.connection = connection.state;
    write("badge-text", badgeOf(state));
    if (state.viewers !== null) write("viewers", viewersOf(state));
  }

  #writeCamera(state, now) {
    const { phase, share } = cameraPhase(currentCamera(state), state, now);
    const connecting = state.connection.state === "connecting";
    const live = state.connection.state === "live";
    const heard = (live || connecting) && state.press !== null;
    this.#shutter.write({ phase: live ? phase : "unknown", heard, ready: live || connecting, share: live ? share : 0 });
    if (connecting && !heard) return; // what the server wrote still stands
    const { text, detail } = statusOf(state, now);
    const line = document.createElement("span");
    line.textContent = text;
    const small = document.createElement("small");
    small.textContent = detail;
    const status = element("status");
    if (status.textContent !== text + detail) status.replaceChildren(line, ...(detail ? [small] : []));
  }

  #writePhoto(state, now) {
    const { shown } = state;
    this.#strip.write(state.photos, shown?.snapshot ?? "", now);
    const newest = newestOf(state);
    element("newest").hidden = !newest;
    if (newest) write("newest-label", newest);
    if (!shown) return;
    this.#picture.show(shown, altOf(shown, now));
    if (this.#captioned) this.#writeCaption(state, this.#captioned, now);
  }

  #writeCaption(state, photo, now) {
    element("about").hidden = element("actions").hidden = false;
    element("none").hidden = true;
    element("frame").dataset.snapshot = photo.snapshot;
    element("frame").dataset.mine = isOwn(state, photo) ? "yes" : "no";
    element("open").href = photo.page;
    writeMoment(element("when"), Date.parse(photo.captured_at), now + state.ahead);
    const whose = element("whose");
    if (isOwn(state, photo) === (whose.firstElementChild !== null)) return;
    whose.replaceChildren();
    if (!isOwn(state, photo)) return;
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = "Your photo";
    whose.append(chip);
  }

  #writeNotice({ notice }) {
    element("notice").hidden = !notice;
    if (notice) write("notice-text", notice.text);
    if (notice) element("notice").dataset.kind = notice.kind;
  }
}
