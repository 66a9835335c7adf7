/* The cookie `dog_snapshot`: only the id of the visitor's last snapshot. It gives no rights. */

import { rootUrl } from "./page.js";

const YEAR_S = 31_536_000;

/** Set the cookie for the whole site. */
export function rememberSnapshot(/** @type {string} */ id) {
  write(id, YEAR_S);
}

/** Delete the cookie if its snapshot is one of these, which were removed. */
export function forgetSnapshots(/** @type {string[]} */ ids) {
  const known = /(?:^|; )dog_snapshot=(\w+)/.exec(document.cookie)?.[1];
  if (known && ids.includes(known)) write("", 0);
}

/** @param {string} id @param {number} age in seconds */
function write(id, age) {
  const { pathname, protocol } = rootUrl();
  const secure = protocol === "https:" ? "; Secure" : "";
  document.cookie = `dog_snapshot=${id}; Max-Age=${age}; Path=${pathname}; SameSite=Lax${secure}`;
}
