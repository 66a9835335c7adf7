/* The cookie `dog_snapshot`: only the id of the visitor's last snapshot. It gives no rights. */

const YEAR_S = 31_536_000;

/**
 * Set the cookie for the whole site; `root` is the URL of its root.
 * @param {string} id @param {URL} root
 */
export function rememberSnapshot(id, root) {
  write(id, YEAR_S, root);
}

/**
 * Delete the cookie if its snapshot is one of these, which were removed.
 * @param {string[]} ids @param {URL} root
 */
export function forgetSnapshots(ids, root) {
  const known = /(?:^|; )dog_snapshot=(\w+)/.exec(document.cookie)?.[1];
  if (known && ids.includes(known)) write("", 0, root);
}

/** @param {string} id @param {number} age @param {URL} root */
function write(id, age, { pathname, protocol }) {
  const secure = protocol === "https:" ? "; Secure" : "";
  document.cookie = `dog_snapshot=${id}; Max-Age=${age}; Path=${pathname}; SameSite=Lax${secure}`;
}
