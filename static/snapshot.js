/*
 * The page of one photo: local times, the link to copy, the arrow keys, and pinning and deleting without leaving the
 * page, if the visitor's role allows it. Each request to the server also shows if the photo was deleted or the visitor
 * was logged out. If the visitor's role changed, the page is reloaded.
 */

import { CopyLink } from "./clipboard.js";
import { addFullSize } from "./full-size.js";
import { LOGGED_OUT, asksToLogIn, createLoginLink } from "./login.js";
import { create, element, find, timeoutSignal } from "./page.js";
import { Picture } from "./picture.js";
import { serverNow } from "./server-clock.js";
import { Speech } from "./speech.js";
import { localizePage, writeMoment } from "./time.js";

const FETCH_TIMEOUT_MS = 20_000;

document.documentElement.classList.add("js");
const frame = element("frame");
const { captured_at, page, snapshot } = frame.dataset;
const api = new URL(`${document.body.dataset.root}api/snapshots/${snapshot}`, location.href);
const speech = new Speech(element("speech"));

new Picture(frame, snapshot);
addFullSize();
new CopyLink(element("copy"), () => page, speech);

const bytes = element("bytes");
bytes.textContent = new Intl.NumberFormat(undefined, {
  style: "unit",
  unit: "kilobyte",
  maximumFractionDigits: 0,
}).format(Number(bytes.dataset.bytes) / 1000);

const writeTime = () => writeMoment(element("when"), Date.parse(captured_at), serverNow());
localizePage();
writeTime();
setInterval(writeTime, 10_000);

// ---- requests

/** @param {string} sentence @param {Element[]} more */
function showNotice(sentence, ...more) {
  element("notice-text").textContent = sentence;
  element("notice").replaceChildren(element("notice-text"), ...more);
  element("notice").hidden = !sentence;
  speech.say(sentence);
}

let isGone = false;

/**
 * Return the response; show the error and return null if it failed.
 * @param {string} method @param {string | URL} url
 */
async function request(method, url) {
  try {
    const answer = await fetch(url, { method, signal: timeoutSignal(FETCH_TIMEOUT_MS) });
    if (answer.ok) {
      showNotice("");
      return answer;
    }
    if (asksToLogIn(answer)) {
      showNotice(`${LOGGED_OUT}.`, createLoginLink());
      return null;
    }
    const { code, detail } = await answer.json();
    showNotice(detail);
    isGone = code === "gone_snapshot";
    find(document, ".caption .actions").hidden = isGone;
    if (code === "forbidden") {
      for (const part of [element("share"), element("pin"), element("delete")]) part?.closest("form, a")?.remove();
    }
  } catch {
    showNotice("The server can’t be reached. Try again.");
  }
  return null;
}

document.addEventListener("visibilitychange", async () => {
  if (document.hidden || isGone) return;
  const answer = await request("GET", api);
  if (!answer) return;
  writePin((await answer.json()).pinned === true);
  const visitor = await request("GET", new URL("../visitor", api));
  if (visitor && ((await visitor.json()).role === "manage") !== (element("pin") !== null)) location.reload();
});

// ---- pinning

const pin = element("pin");

function writePin(/** @type {boolean} */ pinned) {
  if (!pin) return;
  pin.value = pinned ? "no" : "yes";
  pin.setAttribute("aria-pressed", String(pinned));
  find(pin, "span").textContent = pinned ? "Pinned" : "Pin";
}

pin?.form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const pinned = pin.value === "yes";
  if (!(await request(pinned ? "PUT" : "DELETE", `${api}/pin`))) return;
  writePin(pinned);
  speech.say(pinned ? "Pinned." : "Not pinned any more.");
});

// ---- deleting: a dialog with the question of the linked page

const dialog = create("dialog", { className: "deletion" });
dialog.setAttribute("aria-labelledby", "question");
document.body.append(dialog);

const deletion = element("delete");
deletion?.addEventListener("click", async (event) => {
  if (!window.HTMLDialogElement) return; // in Safari 15.3, the link leads to its page
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const answer = await request("GET", deletion.href);
  if (!answer || dialog.open) return;
  const asked = find(new DOMParser().parseFromString(await answer.text(), "text/html"), "main");
  find(asked, "h1").id = "question";
  find(asked, "form").action = deletion.href;
  dialog.replaceChildren(...asked.querySelectorAll("h1, .detail, form"));
  element("keep").addEventListener("click", (press) => {
    press.preventDefault();
    dialog.close();
  });
  dialog.showModal(); // eslint-disable-line dog/browsers -- if there is <dialog>
  element("keep").focus();
});

// ---- keys

/** @type {Record<string, "newer" | "older" | "live">} */
const KEYS = { ArrowLeft: "newer", ArrowRight: "older", Escape: "live" };

document.addEventListener("keydown", (event) => {
  const id = Object.keys(KEYS).includes(event.key) ? KEYS[event.key] : null;
  if (!id || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const target = /** @type {Element} */ (event.target);
  if (target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  element(id)?.click();
});
