/* The cookie `dog_snapshot`: the id of the visitor's last snapshot and nothing else. It gives no right. */

const YEAR = 31_536_000; // seconds

/** Remember this snapshot for the whole site; `root` is the address of its root. */
export function rememberSnapshot(id, root) {
  write(id, YEAR, root);
}

/** Forget it where it is one of these, which are there no more. */
export function forgetSnapshots(ids, root) {
  const known = /(?:^|; )dog_snapshot=(\w+)/.exec(document.cookie)?.[1];
  if (ids.includes(known)) write("", 0, root);
}

function write(id, age, root) {
  const { pathname, protocol } = new URL(root, location.href);
  const secure = protocol === "https:" ? "; Secure" : "";
  document.cookie = `dog_snapshot=${id}; Max-Age=${age}; Path=${pathname}; SameSite=Lax${secure}`;
}
