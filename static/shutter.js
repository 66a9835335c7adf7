/* The shutter button. It shows a press at once, and its ring counts the dead time down. */

export class Shutter {
  #button;

  /**
   * `onPress()` is called after a click, a tap, Enter or Space on the button: all of them submit the form.
   * @param {HTMLFormElement} form @param {HTMLElement} button @param {() => void} onPress
   */
  constructor(form, button, onPress) {
    this.#button = button;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      onPress();
    });
  }

  /**
   * `heard` is true during a press of this visitor.
   * @param {Omit<CameraPhase, "left"> & {heard: boolean, ready: boolean}} now
   */
  write({ phase, heard, ready, share }) {
    const { dataset, style } = this.#button;
    dataset.phase = phase;
    dataset.heard = heard ? "yes" : "no";
    style.setProperty("--left", share.toFixed(3));
    this.#button.setAttribute("aria-disabled", String(!ready));
  }
}
