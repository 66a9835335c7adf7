/* The round button: it says at once that a press was heard, and its ring counts the dead time down. */

export class Shutter {
  #button;

  /** `onPress()` is told of a click, a tap, Enter or Space on it: all of them submit its form. */
  constructor(form, button, onPress) {
    this.#button = button;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      onPress();
    });
  }

  /** `phase` is the camera's; `heard` while a press of ours is under way; `share` the part of the dead time that is left. */
  write({ phase, heard, ready, share }) {
    const { dataset, style } = this.#button;
    dataset.phase = phase;
    dataset.heard = heard ? "yes" : "no";
    style.setProperty("--left", share.toFixed(3));
    this.#button.setAttribute("aria-disabled", String(!ready));
  }
}
