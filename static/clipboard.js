/*
 * A link to copy. Where the clipboard can't be had (a page without TLS on the local network has none), it is copied the
 * old way, out of a field; and where a browser does not do that any more, the field stays, with the link selected.
 */

const CONFIRMED = 2000; // ms that "Copied" stands

export class CopyLink {
  #button;
  #label;
  #field;
  #timer = null;

  /** `address()` gives the link; `onCopied(sentence)` is told what happened. */
  constructor({ button, label, field }, address, onCopied) {
    this.#button = button;
    this.#label = label;
    this.#field = field;
    button.addEventListener("click", async () => {
      const link = new URL(address(), location.href).href;
      const copied = await this.#copy(link);
      if (copied) this.#confirm();
      onCopied(copied ? "Link copied." : "The link is selected. Copy it from here.");
    });
  }

  /** Take the field away: the photo is another one now. */
  clear() {
    this.#field.hidden = true;
  }

  async #copy(link) {
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
    }, CONFIRMED);
  }
}
