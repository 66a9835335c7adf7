/* The photo at full size, in a dialog: move it by scrolling, by dragging it, or with the arrow keys. */

import { element, find } from "./page.js";

/** Handle clicks, Enter and Space on the button over the photo. */
export function addFullSize() {
  const dialog = element("full-size");
  const pane = find(dialog, ".pane");
  const image = find(dialog, "img");
  let drag = { moved: false, left: 0, top: 0 };

  element("enlarge").addEventListener("click", ({ clientX, clientY, detail, currentTarget }) => {
    const frame = element("frame");
    if (!window.HTMLDialogElement) {
      location.assign(frame.dataset.url); // in Safari 15.3
      return;
    }
    const { left, top, width, height } = /** @type {Element} */ (currentTarget).getBoundingClientRect();
    const [x, y] = detail ? [(clientX - left) / width, (clientY - top) / height] : [0.5, 0.5];
    image.onload = () => {
      const isSmall = image.naturalWidth <= innerWidth && image.naturalHeight <= innerHeight;
      image.classList.toggle("small", isSmall); // it is as large as the window
      pane.scrollTo(x * pane.scrollWidth - clientX, y * pane.scrollHeight - clientY);
    };
    image.src = frame.dataset.url;
    image.alt = find(frame, "img").alt;
    dialog.showModal(); // eslint-disable-line dog/browsers -- if there is <dialog>
    pane.focus();
  });

  pane.addEventListener("pointerdown", ({ pointerType, pointerId, clientX, clientY }) => {
    drag = { moved: false, left: pane.scrollLeft + clientX, top: pane.scrollTop + clientY };
    if (pointerType === "mouse") pane.setPointerCapture(pointerId);
  });
  pane.addEventListener("pointermove", ({ pointerId, clientX, clientY }) => {
    if (!pane.hasPointerCapture(pointerId)) return; // a finger scrolls by itself
    const [left, top] = [drag.left - clientX, drag.top - clientY];
    if (Math.hypot(left - pane.scrollLeft, top - pane.scrollTop) > 3) drag.moved = true;
    if (drag.moved) pane.scrollTo(left, top);
  });
  pane.addEventListener("click", () => drag.moved || dialog.close());
  element("reduce").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.open || image.removeAttribute("src")); // it may be open again
}
