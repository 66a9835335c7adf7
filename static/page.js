/* What the scripts of several pages share. */

/**
 * Return the element with this id.
 * @template {keyof PageElements} Id
 * @param {Id} id
 */
export function element(id) {
  return /** @type {PageElements[Id]} */ (document.getElementById(id));
}

/**
 * Return the first match, for a selector that always has one.
 * @type {{
 *   <Name extends keyof HTMLElementTagNameMap>(root: ParentNode, selector: Name): HTMLElementTagNameMap[Name],
 *   (root: ParentNode, selector: string): HTMLElement,
 * }}
 */
export const find = (/** @type {ParentNode} */ root, /** @type {string} */ selector) =>
  /** @type {any} */ (root.querySelector(selector));

/**
 * Create an element with these properties and children.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {Partial<HTMLElementTagNameMap[Name]>} properties @param {(Node | string)[]} children
 */
export function create(name, properties, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

/** Return the URL of the site's root. */
export const rootUrl = () => new URL(document.body.dataset.root, location.href);

/** Return a signal that aborts after this time. Safari 15 has no AbortSignal.timeout. */
export function timeoutSignal(/** @type {number} */ ms) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), ms);
  return controller.signal;
}
