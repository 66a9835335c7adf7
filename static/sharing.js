/*
 * Share links. They have a page of their own; the photo's page shows the section of that page in a dialog. In both, forms
 * are sent without leaving the page, a new link is copied at once, and times are local.
 */

import { CopyLink } from "./clipboard.js";
import { LOGGED_OUT, asksToLogIn, createLoginLink } from "./login.js";
import { create, element, find } from "./page.js";
import { Speech } from "./speech.js";
import { localize } from "./time.js";

class Sharing {
  #place;
  #speech;
  #busy = false;

  /**
   * `place` contains the section, `status` shows results.
   * @param {Element} place @param {Element} status
   */
  constructor(place, status) {
    this.#place = place;
    this.#speech = new Speech(status);
  }

  /** Show the section of a response, the page of a photo's links. Throws an Error with a message for people. */
  async show(/** @type {Response} */ answer) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const section = page.getElementById("sharing");
    if (!section)
      throw new Error(page.querySelector(".detail")?.textContent ?? "The server sent an unexpected page. Try again.");
    for (const name of ["action", "href"]) {
      for (const element of section.querySelectorAll(`[${name}]`)) {
        element.setAttribute(name, new URL(String(element.getAttribute(name)), answer.url).href);
      }
    }
    const before = this.#place.querySelector("#sharing");
    if (before) before.replaceWith(section);
    else this.#place.prepend(section);
    this.addHandlers();
  }

  /** Add the event handlers, and local times. */
  addHandlers() {
    for (const form of this.#place.querySelectorAll("form")) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#send(form);
      });
    }
    localize(this.#place);
    for (const row of this.#rows()) {
      for (const link of row.querySelectorAll("a")) link.textContent = link.href;
      for (const button of /** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll(".copy"))) {
        const link = find(button.closest(".use") ?? row, "a"); // a camera's link has several
        new CopyLink(button, () => link.href, this.#speech);
      }
    }
  }

  async #send(/** @type {HTMLFormElement} */ form) {
    if (this.#busy) return;
    this.#busy = true;
    const before = this.#linkIds();
    try {
      const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
      const chosen = find(this.#place, "select").value;
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      if (asksToLogIn(answer)) {
        this.#speech.say(`${LOGGED_OUT}.`, createLoginLink());
        return;
      }
      await this.show(answer);
      find(this.#place, "select").value = chosen;
      this.#showResult([...this.#linkIds()].find((link) => !before.has(link)));
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      this.#speech.say(error instanceof TypeError ? "The server can’t be reached. Try again." : message);
    } finally {
      this.#busy = false;
    }
  }

  /** Copy a new link, or confirm a revocation, and focus the next button. */
  #showResult(/** @type {string | undefined} */ made) {
    if (made) {
      const copy = find(this.#place, `[data-link="${made}"] .copy`);
      copy.focus();
      copy.click();
    } else {
      find(this.#place, "#make").focus();
      this.#speech.say("The link is revoked.");
    }
  }

  #linkIds() {
    return new Set(this.#rows().map((row) => row.dataset.link));
  }

  #rows() {
    return /** @type {HTMLElement[]} */ ([...this.#place.querySelectorAll("[data-link]")]);
  }
}

/** Open the section in a dialog on a photo's page; if that fails, follow the link to its page. */
function openInDialog(/** @type {HTMLAnchorElement} */ share) {
  const status = create("p", { className: "said" });
  status.setAttribute("role", "status");
  const dialog = create("dialog", { className: "giving" }, status);
  dialog.setAttribute("aria-labelledby", "sharing-title");
  document.body.append(dialog);
  const sharing = new Sharing(dialog, status);

  share.setAttribute("role", "button");
  share.setAttribute("aria-haspopup", "dialog");
  share.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    share.click();
  });
  share.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog.open) return;
    try {
      await sharing.show(await fetch(share.href, { headers: { Accept: "text/html" } }));
    } catch {
      location.assign(share.href);
      return;
    }
    if (dialog.open) return;
    status.replaceChildren();
    dialog.showModal(); // eslint-disable-line dog/browsers -- if there is <dialog>
    find(dialog, "select").focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target !== dialog && !(/** @type {Element} */ (event.target).closest("#close"))) return;
    event.preventDefault();
    dialog.close();
  });
}

document.documentElement.classList.add("js");
const share = element("share"); // null if the visitor may not share
const page = document.querySelector("main.giving");
const hasDialogs = Boolean(window.HTMLDialogElement); // not in Safari 15.3, where the link leads to its page
if (share && hasDialogs) openInDialog(share);
else if (page) new Sharing(page, find(document, ".said")).addHandlers();
