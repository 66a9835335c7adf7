/*
 * The link to log in, for a page whose visitor was logged out. It leads back to the same page, at once if the visitor
 * has logged in elsewhere.
 */

import { rootUrl } from "./page.js";

export const LOGGED_OUT = "You are logged out";

export function loginUrl() {
  const root = rootUrl();
  const url = new URL("login", root);
  url.searchParams.set("next", location.href.slice(root.href.length).split("#")[0]);
  return url.href;
}

export function createLoginLink() {
  const link = document.createElement("a");
  link.className = "action solid";
  link.href = loginUrl();
  link.textContent = "Log in";
  return link;
}

/** Return true if a response is a 401, or a redirect to the login page. */
export function asksToLogIn(/** @type {Response} */ { status, redirected, url }) {
  return status === 401 || (redirected && new URL(url).pathname === new URL("login", rootUrl()).pathname);
}
