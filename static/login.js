/*
 * The link to log in, for a page whose visitor was logged out. It leads back to the same page, at once if the visitor
 * has logged in elsewhere.
 */

import { create, rootUrl } from "./page.js";

export const LOGGED_OUT = "You are logged out";

export function loginUrl() {
  const root = rootUrl();
  const url = new URL("login", root);
  url.searchParams.set("next", location.href.slice(root.href.length).split("#")[0]);
  return url.href;
}

export function createLoginLink() {
  return create("a", { className: "action solid", href: loginUrl() }, "Log in");
}

/** Return true if a response is a 401, or a redirect to the login page. */
export function asksToLogIn(/** @type {Response} */ { status, redirected, url }) {
  return status === 401 || (redirected && new URL(url).pathname === new URL("login", rootUrl()).pathname);
}
