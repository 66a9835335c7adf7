/* The polite live region, which screen readers announce. */

import { create } from "./page.js";

export class Speech {
  #element;

  constructor(/** @type {Element} */ element) {
    this.#element = element;
  }

  /**
   * Announce a sentence. A new element makes a repeated sentence audible. `more` are elements after it.
   * @param {string} sentence @param {Element[]} more
   */
  say(sentence, ...more) {
    if (!sentence) return;
    this.#element.replaceChildren(create("span", {}, sentence), ...more);
  }
}
