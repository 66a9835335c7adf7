/*
 * Files that did not load. The text of this file is in every page, before all that the page loads, so that it can't get
 * lost itself. A script, a stylesheet or an image that fails is loaded again: after a random pause that doubles, or when
 * the server says, and at once when the visitor wants it or the network is back. While something is missing, a notice
 * says so, and <html> has `data-lost`; a "lostchange" event tells of each change of that.
 *
 * An element says only that it failed. So its file is fetched first, which tells why, and puts it into the cache. An
 * image that is gone, or that this visitor may not see, is given up. A script or a stylesheet that is gone means that
 * the server has another version by now: then the whole page is loaded again.
 */

const FIRST_PAUSE = 1000; // ms before the first try, doubling
const LAST_PAUSE = 20_000;
const LONGEST_ADVICE = 120_000; // ms; a server that says to wait for longer is asked then
const PATIENCE = 20_000; // ms for one answer
const TICK = 250; // ms
const FINAL = [401, 403, 404, 410];
const PATIENT_TRIES = 4; // before a page that was reloaded already is reloaded again

const html = document.documentElement;
const wasReloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
const files = new Map(); // element -> whether it is being loaded again
let tries = 0;
let jitter = Math.random();
let timer = null;
let dueAt = 0; // by performance.now(), and the next one too
let notBefore = 0; // as the server said
let ticking = null;
let notice = null;
let status = null; // {line, nodes}: the live page's status line, and what the server wrote there

const isImage = (element) => element.tagName === "IMG";
const isPart = (element) => !isImage(element);
const isSpoken = (element) => isPart(element) || element.alt !== ""; // decoration is loaded again without a word

function kindOf(element) {
  if (element.tagName === "SCRIPT" && element.src) return "script";
  if (element.tagName === "LINK" && element.rel === "stylesheet") return "style";
  return isImage(element) && !element.closest("#viewfinder") ? "image" : null; // the live view has tries of its own
}

document.addEventListener("error", ({ target }) => kindOf(target) && lose(target), true);
document.addEventListener("load", ({ target }) => files.has(target) && forget(target), true);
addEventListener("online", tryAgain);

function lose(element) {
  if (!files.has(element)) tries = 0;
  files.set(element, false);
  schedule();
  write();
}

function forget(element) {
  files.delete(element);
  write();
}

function schedule() {
  const now = performance.now();
  const at = Math.max(notBefore, now + Math.min(LAST_PAUSE, FIRST_PAUSE * 2 ** tries) * (1 + jitter));
  if (timer && dueAt <= at && notBefore <= dueAt) return;
  clearTimeout(timer);
  timer = setTimeout(tryAgain, at - now);
  dueAt = at;
}

function tryAgain() {
  clearTimeout(timer);
  timer = null;
  tries += 1;
  jitter = Math.random();
  for (const [element, isTried] of [...files]) if (!isTried) load(element);
  write();
}

async function load(element) {
  files.set(element, true);
  const url = new URL(isImage(element) ? element.currentSrc || element.src : (element.src ?? element.href));
  if (url.origin === location.origin) {
    const answer = await ask(url);
    if (!files.has(element)) return;
    if (!answer?.ok) {
      judge(element, answer);
      return;
    }
  }
  if (isImage(element)) {
    element.loading = "eager";
    element.src = element.src; // which has it loaded again
    return;
  }
  const copy = document.createElement(element.tagName);
  for (const { name, value } of element.attributes) copy.setAttribute(name, value);
  files.delete(element);
  files.set(copy, true);
  element.replaceWith(copy);
}

/** What the answer, or that there is none, means for a file. */
function judge(element, answer) {
  if (FINAL.includes(answer?.status)) {
    if (isImage(element)) {
      forget(element);
      return;
    }
    if (!wasReloaded || tries > PATIENT_TRIES) location.reload();
  }
  const seconds = Number(answer?.headers.get("Retry-After")) || 0;
  notBefore = performance.now() + Math.min(LONGEST_ADVICE, 1000 * seconds) * (1 + jitter);
  lose(element);
}

/** The answer with its body read, or null if there is none. */
async function ask(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout?.(PATIENCE) });
    await answer.blob();
    return answer;
  } catch {
    return null;
  }
}

// ---- what is said

function write() {
  for (const element of files.keys()) if (!element.isConnected) files.delete(element); // it is not wanted any more
  const elements = [...files.keys()];
  if (!elements.length) {
    clearTimeout(timer);
    timer = null;
  }
  writeKinds([...new Set(elements.filter(isPart).map(kindOf))].join(" "));
  if (document.body) writeNotice(elements.filter(isSpoken));
  else addEventListener("DOMContentLoaded", write, { once: true });
}

function writeKinds(lost) {
  if (lost === (html.dataset.lost ?? "")) return;
  if (lost) html.dataset.lost = lost;
  else delete html.dataset.lost;
  dispatchEvent(new Event("lostchange"));
}

function writeNotice(elements) {
  writeStatus(elements.some((element) => kindOf(element) === "script"));
  if (!elements.length) {
    notice?.remove();
    clearInterval(ticking);
    notice = ticking = null;
    return;
  }
  notice ??= createNotice();
  ticking ??= setInterval(write, TICK);
  const isIncomplete = elements.some(isPart);
  const [said, next] = notice.children;
  if (!notice.isConnected) document.body.append(notice);
  said.setAttribute("role", isIncomplete ? "alert" : "status");
  put(said, isIncomplete ? "Part of this page did not load." : `${count(elements.length)} did not load.`);
  const left = Math.max(1, Math.ceil((dueAt - performance.now()) / 1000));
  put(next, timer ? `Trying again in ${left} s.` : "Trying again…");
}

const count = (photos) => (photos === 1 ? "A photo" : `${photos} photos`);

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function createNotice() {
  const created = document.createElement("aside");
  created.className = "lost";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Try again now";
  button.addEventListener("click", tryAgain);
  created.append(document.createElement("p"), document.createElement("p"), button);
  return created;
}

/** Without its script the live page is not live, and nothing else changes the status line that the server wrote. */
function writeStatus(isLost) {
  const line = document.getElementById("status");
  if (isLost && line && !status) {
    status = { line, nodes: [...line.childNodes] };
    line.replaceChildren("Not live");
  } else if (!isLost && status) {
    status.line.replaceChildren(...status.nodes);
    status = null;
  }
}
