/* The cookie `dog_snapshot`: the id of the visitor's last snapshot and nothing else. It gives no right. */

const YEAR = 31_536_000; // seconds

/** Remember this snapshot for the whole site; `root` is the address of its root. */
export function rememberSnapshot(id, root) {
  const { pathname, protocol } = new URL(root, location.href);
  const secure = protocol === "https:" ? "; Secure" : "";
  document.cookie = `dog_snapshot=${id}; Max-Age=${YEAR}; Path=${pathname}; SameSite=Lax${secure}`;
}
