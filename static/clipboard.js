/*
 * A button that copies a link. Without the clipboard API, which needs HTTPS, the link is copied from a field. If that
 * fails too, the field stays, with the link selected.
 */

const CONFIRMATION_MS = 2000; // the button shows "Copied" for this time

export class CopyLink {
  #button;
  #label;
  #field;
  #timer = 0;

  /**
   * `getUrl()` returns the link; `onCopied(sentence)` receives the result for people.
   * @param {{button: HTMLElement, label: Element, field: HTMLInputElement}} parts
   * @param {() => string} getUrl
   * @param {(sentence: string) => void} onCopied
   */
  constructor({ button, label, field }, getUrl, onCopied) {
    this.#button = button;
    this.#label = label;
    this.#field = field;
    button.addEventListener("click", async () => {
      const link = new URL(getUrl(), location.href).href;
      const copied = await this.#copy(link);
      if (copied) this.#confirm();
      onCopied(copied ? "Link copied." : "The link is selected. Copy it from here.");
    });
  }

  /** Hide the field, because the photo has changed. */
  clear() {
    this.#field.hidden = true;
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
