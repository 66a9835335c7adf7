/*
 * Links to give away. Their page works by itself; the photo's page shows the same section of it in a dialog. In both,
 * what is pressed is sent without leaving the page, a new link is copied at once, and times are the visitor's own.
 */

import { CopyLink } from "./clipboard.js";
import { LOGGED_OUT, asksToLogIn, createLoginLink } from "./login.js";
import { Speech } from "./speech.js";
import { exactTime, fullTime } from "./time.js";

class Sharing {
  #place;
  #speech;
  #busy = false;

  /** `place` holds the section, `status` is where is said what became of a press. */
  constructor(place, status) {
    this.#place = place;
    this.#speech = new Speech(status);
  }

  /** Show the section of an answer, which is the page of a photo's links. Throws an Error that can be shown. */
  async show(answer) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const section = page.getElementById("sharing");
    if (!section) throw new Error(page.querySelector(".detail")?.textContent ?? "The server sent an unexpected page. Try again.");
    for (const name of ["action", "href"]) {
      for (const element of section.querySelectorAll(`[${name}]`)) {
        element.setAttribute(name, new URL(element.getAttribute(name), answer.url).href);
      }
    }
    const before = this.#place.querySelector("#sharing");
    if (before) before.replaceWith(section);
    else this.#place.prepend(section);
    this.equip();
  }

  /** Make what is shown do its work here. */
  equip() {
    for (const form of this.#place.querySelectorAll("form")) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#send(form);
      });
    }
    for (const time of this.#place.querySelectorAll("time")) {
      const at = Date.parse(time.dateTime);
      [time.textContent, time.title] = [exactTime(at, Date.now()), fullTime(at)];
    }
    for (const row of this.#place.querySelectorAll("[data-link]")) this.#equipRow(row);
  }

  #equipRow(row) {
    const address = row.querySelector("a");
    address.textContent = address.href;
    const button = row.querySelector(".copy");
    if (!button) return;
    const parts = { button, label: button.querySelector("span"), field: row.querySelector("input") };
    new CopyLink(parts, () => address.href, (sentence) => this.#speech.say(sentence));
  }

  async #send(form) {
    if (this.#busy) return;
    this.#busy = true;
    const before = this.#links();
    try {
      const body = new URLSearchParams(new FormData(form));
      const chosen = this.#place.querySelector("select").value;
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      if (asksToLogIn(answer)) {
        this.#speech.say(`${LOGGED_OUT}.`, createLoginLink());
        return;
      }
      await this.show(answer);
      this.#place.querySelector("select").value = chosen;
      this.#finish([...this.#links()].find((link) => !before.has(link)));
    } catch (error) {
      this.#speech.say(error instanceof TypeError ? "The server can’t be reached. Try again." : error.message);
    } finally {
      this.#busy = false;
    }
  }

  /** What was pressed is not there any more: the focus goes to what can be pressed next. */
  #finish(made) {
    if (made) {
      const copy = this.#place.querySelector(`[data-link="${made}"] .copy`);
      copy.focus();
      copy.click();
    } else {
      this.#place.querySelector("#make").focus();
      this.#speech.say("The link is revoked.");
    }
  }

  #links() {
    return new Set([...this.#place.querySelectorAll("[data-link]")].map((row) => row.dataset.link));
  }
}

/** The dialog on a photo's page; its link leads to the page of the links, which is where it goes when that fails. */
function openInDialog(share) {
  const dialog = document.createElement("dialog");
  dialog.className = "giving";
  dialog.setAttribute("aria-labelledby", "sharing-title");
  const status = document.createElement("p");
  status.className = "said";
  status.setAttribute("role", "status");
  dialog.append(status);
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
    dialog.showModal();
    dialog.querySelector("select").focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target !== dialog && !event.target.closest("#close")) return;
    event.preventDefault();
    dialog.close();
  });
}

document.documentElement.classList.add("js");
const share = document.getElementById("share"); // none where the visitor may not share
const page = document.querySelector("main.giving");
if (share) openInDialog(share);
else if (page) new Sharing(page, document.querySelector(".said")).equip();
