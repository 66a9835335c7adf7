/* The polite live region: what changes is spoken, once. */

export class Speech {
  #element;

  constructor(element) {
    this.#element = element;
  }

  /** Say a sentence; the same one twice is heard twice, for its element is a new one. `more` stands behind it. */
  say(sentence, ...more) {
    if (!sentence) return;
    const line = document.createElement("span");
    line.textContent = sentence;
    this.#element.replaceChildren(line, ...more);
  }
}
