/* The server's clock. The visitor's may be wrong, so pages compute with this one. Times are milliseconds since 1970. */

let ahead = 0; // of the visitor's clock

export const serverNow = () => Date.now() + ahead;

/** Set the clock by a time that the server has just sent. */
export function setServerTime(/** @type {string} */ text) {
  ahead = Date.parse(text) - Date.now();
}

const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const { now } = document.body.dataset; // an error page has none
if (now) {
  setServerTime(now);
  ahead += navigation ? performance.now() - navigation.responseStart : 0; // the page was sent before this script ran
}
