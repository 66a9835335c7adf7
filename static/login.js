/*
 * The way to log in, for a page that was open when its visitor was logged out. It leads back to the same page; whoever has
 * logged in elsewhere meanwhile is led on at once.
 */

export const LOGGED_OUT = "You are logged out";

const rootOf = () => new URL(document.body.dataset.root, location.href);

export function loginAddress() {
  const root = rootOf();
  const address = new URL("login", root);
  address.searchParams.set("next", location.href.slice(root.href.length).split("#")[0]);
  return address.href;
}

export function createLoginLink() {
  const link = document.createElement("a");
  link.className = "action solid";
  link.href = loginAddress();
  link.textContent = "Log in";
  return link;
}

/** Whether an answer says so: to who asks for a page by leading there, else by its status. */
export function asksToLogIn({ status, redirected, url }) {
  return status === 401 || (redirected && new URL(url).pathname === new URL("login", rootOf()).pathname);
}
