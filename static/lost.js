/*
 * Load files again that did not load. The text of this file is inside every page, before everything that the page loads,
 * so it can't be lost itself. A script, a stylesheet or an image that failed is loaded again after a random delay that
 * doubles, or after the server's Retry-After, or at once if the visitor presses the button or the network is back. While
 * a file is missing, the page shows a notice and <html> has `data-lost`; each change dispatches "lostchange".
 *
 * The error event of an element has no reason. So the file is fetched first, which gives the status and fills the cache.
 * An image that is gone or forbidden is given up. A script or a stylesheet that is gone means that the server has
 * another version now, so the whole page is reloaded.
 */

const MIN_RETRY_DELAY_MS = 1000; // doubles
const MAX_RETRY_DELAY_MS = 20_000;
const MAX_RETRY_AFTER_MS = 120_000; // a longer Retry-After is not obeyed
const FETCH_TIMEOUT_MS = 20_000;
const REDRAW_INTERVAL_MS = 250;
const FINAL_STATUSES = [401, 403, 404, 410];
const TRIES_BEFORE_RELOAD = 4; // for a page that was reloaded already

const html = document.documentElement;
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const wasReloaded = navigation?.type === "reload";
/** @type {Map<PageFile, boolean>} */
const files = new Map(); // true while it is loaded again
let tries = 0;
let jitter = Math.random();
let timer = 0;
let dueAt = 0; // performance.now()
let notBefore = 0; // from Retry-After
let redrawTimer = 0;
/** @type {HTMLElement | null} */
let notice = null;
/** @type {{line: Element, nodes: ChildNode[]} | null} */
let status = null; // the live page's status line, and what the server wrote there

const isImage = (/** @type {EventTarget | null} */ element) => element instanceof HTMLImageElement;
const isPageFile = (/** @type {PageFile} */ element) => !isImage(element);
const isAnnounced = (/** @type {PageFile} */ element) => !isImage(element) || element.alt !== ""; // decoration is loaded again silently

function kindOf(/** @type {EventTarget | null} */ element) {
  if (element instanceof HTMLScriptElement && element.src) return "script";
  if (element instanceof HTMLLinkElement && element.rel === "stylesheet") return "style";
  return isImage(element) && !element.closest("#viewfinder") ? "image" : null; // the live view retries by itself
}

/** @param {string} type @param {(file: PageFile) => void} listener */
const listen = (type, listener) =>
  document.addEventListener(type, ({ target }) => listener(/** @type {PageFile} */ (target)), true);

listen("error", (element) => kindOf(element) && addLost(element));
listen("load", (element) => files.has(element) && removeLost(element));
addEventListener("online", tryAgain);

function addLost(/** @type {PageFile} */ element) {
  if (!files.has(element)) tries = 0;
  files.set(element, false);
  schedule();
  write();
}

function removeLost(/** @type {PageFile} */ element) {
  files.delete(element);
  write();
}

function schedule() {
  const now = performance.now();
  const at = Math.max(notBefore, now + Math.min(MAX_RETRY_DELAY_MS, MIN_RETRY_DELAY_MS * 2 ** tries) * (1 + jitter));
  if (timer && dueAt <= at && notBefore <= dueAt) return;
  clearTimeout(timer);
  timer = setTimeout(tryAgain, at - now);
  dueAt = at;
}

function tryAgain() {
  clearTimeout(timer);
  timer = 0;
  tries += 1;
  jitter = Math.random();
  for (const [element, isTried] of [...files]) if (!isTried) load(element);
  write();
}

async function load(/** @type {PageFile} */ element) {
  files.set(element, true);
  const url = new URL(
    isImage(element) ? element.currentSrc || element.src : "src" in element ? element.src : element.href,
  );
  if (url.origin === location.origin) {
    const answer = await fetchFile(url);
    if (!files.has(element)) return;
    if (!answer?.ok) {
      handleFailure(element, answer);
      return;
    }
  }
  if (isImage(element)) {
    element.loading = "eager";
    element.setAttribute("src", element.src); // loads it again
    return;
  }
  const copy = /** @type {PageFile} */ (document.createElement(element.tagName));
  for (const { name, value } of element.attributes) copy.setAttribute(name, value);
  files.delete(element);
  files.set(copy, true);
  element.replaceWith(copy);
}

/**
 * Give the file up, reload the page, or schedule another try.
 * @param {PageFile} element @param {Response | null} answer
 */
function handleFailure(element, answer) {
  if (answer && FINAL_STATUSES.includes(answer.status)) {
    if (isImage(element)) {
      removeLost(element);
      return;
    }
    if (!wasReloaded || tries > TRIES_BEFORE_RELOAD) location.reload();
  }
  const seconds = Number(answer?.headers.get("Retry-After")) || 0;
  notBefore = performance.now() + Math.min(MAX_RETRY_AFTER_MS, 1000 * seconds) * (1 + jitter);
  addLost(element);
}

/** Return the response after reading its body, or null. */
async function fetchFile(/** @type {URL} */ url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout?.(FETCH_TIMEOUT_MS) });
    await answer.blob();
    return answer;
  } catch {
    return null;
  }
}

// ---- the notice

function write() {
  for (const element of files.keys()) if (!element.isConnected) files.delete(element);
  const elements = [...files.keys()];
  if (!elements.length) {
    clearTimeout(timer);
    timer = 0;
  }
  writeKinds([...new Set(elements.filter(isPageFile).map(kindOf))].join(" "));
  if (document.body) writeNotice(elements.filter(isAnnounced));
  else addEventListener("DOMContentLoaded", write, { once: true });
}

function writeKinds(/** @type {string} */ lost) {
  if (lost === (html.dataset.lost ?? "")) return;
  if (lost) html.dataset.lost = lost;
  else delete html.dataset.lost;
  dispatchEvent(new Event("lostchange"));
}

function writeNotice(/** @type {PageFile[]} */ elements) {
  writeStatus(elements.some((element) => kindOf(element) === "script"));
  if (!elements.length) {
    notice?.remove();
    clearInterval(redrawTimer);
    notice = null;
    redrawTimer = 0;
    return;
  }
  notice ??= createNotice();
  redrawTimer ||= setInterval(write, REDRAW_INTERVAL_MS);
  const isIncomplete = elements.some(isPageFile);
  const [problem, next] = notice.children;
  if (!notice.isConnected) document.body.append(notice);
  problem.setAttribute("role", isIncomplete ? "alert" : "status");
  setText(problem, isIncomplete ? "Part of this page did not load." : `${count(elements.length)} did not load.`);
  const left = Math.max(1, Math.ceil((dueAt - performance.now()) / 1000));
  setText(next, timer ? `Trying again in ${left} s.` : "Trying again…");
}

const count = (/** @type {number} */ photos) => (photos === 1 ? "A photo" : `${photos} photos`);

/** @param {Element} element @param {string} text */
function setText(element, text) {
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

/** Write into the live page's status line while its script is missing. Nothing else changes that line then. */
function writeStatus(/** @type {boolean} */ isLost) {
  const line = document.getElementById("status");
  if (isLost && line && !status) {
    status = { line, nodes: [...line.childNodes] };
    line.replaceChildren("Not live");
  } else if (!isLost && status) {
    status.line.replaceChildren(...status.nodes);
    status = null;
  }
}
