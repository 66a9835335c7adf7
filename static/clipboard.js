/*
 * A button that copies a link. Without the clipboard API, which needs HTTPS, the link is copied from a field. If that
 * fails too, the field stays, with the link selected.
 */

import { find } from "./page.js";

const CONFIRMATION_MS = 2000; // the button shows "Copied" for this time

export class CopyLink {
  #button;
  #label;
  #field;
  #timer = 0;

  /**
   * The button has its label in a `<span>`, and the field next to it. `getUrl()` returns the link.
   * @param {HTMLElement} button @param {() => string} getUrl @param {Speech} speech announces the result
   */
  constructor(button, getUrl, speech) {
    this.#button = button;
    this.#label = find(button, "span");
    this.#field = find(/** @type {Element} */ (button.parentElement), "input");
    button.addEventListener("click", async () => {
      const link = new URL(getUrl(), location.href).href;
      const copied = await this.#copy(link);
      if (copied) this.#confirm();
      speech.say(copied ? "Link copied." : "The link is selected. Copy it from here.");
    });
  }

  async #copy(/** @type {string} */ link) {
    try {
      await navigator.clipboard.writeText(link);
      return true;
    } catch {
      this.#field.hidden = false;
      this.#field.value = link;
      this.#field.focus();
      this.#field.select();
      if (!document.execCommand("copy")) return false;
      this.#field.hidden = true;
      this.#button.focus();
      return true;
    }
  }

  #confirm() {
    clearTimeout(this.#timer);
    this.#label.textContent = "Copied";
    this.#button.dataset.copied = "yes";
    this.#timer = setTimeout(() => {
      this.#label.textContent = "Copy link";
      delete this.#button.dataset.copied;
    }, CONFIRMATION_MS);
  }
}
