// Parts of a page that are drawn again each second, without taking the focus from whoever uses the keyboard.

import { replace } from "./dom.js";

/** Draws `container` anew; what had the focus in it has it again, as far as it is still there. */
export function redraw(container, ...children) {
  const focused = container.contains(document.activeElement) ? name(document.activeElement) : null;
  const scrolled = [...container.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  replace(container, ...children);
  [...container.querySelectorAll(".scroll")].forEach((element, at) => {
    element.scrollLeft = scrolled[at] ?? 0;
  });
  if (focused) [...container.querySelectorAll(focused.kind)].find((element) => name(element).id === focused.id)?.focus();
}

function name(element) {
  const kind = element.tagName.toLowerCase();
  const id = element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.parentElement?.dataset.chart
    ?? element.textContent;
  return { kind, id };
}
