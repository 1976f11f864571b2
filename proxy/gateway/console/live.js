// Parts of a page that are drawn again each second, without taking the focus from whoever uses the keyboard.

import { replace } from "./dom.js";

/**
 * Draws `container` anew, where it is other than before: what is the same stays, with its selection. What had the focus
 * in it has it again, as far as it is still there, and what was opened stays open.
 */
export function redraw(container, ...children) {
  const fresh = document.createElement("div");
  replace(fresh, ...children);
  const opened = new Set([...container.querySelectorAll("details[open]")].map(summary));
  for (const details of fresh.querySelectorAll("details:not([data-chart])")) details.open = opened.has(summary(details));
  const focused = container.contains(document.activeElement) ? name(document.activeElement) : null;
  const scrolled = [...container.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  const before = [...container.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, at) => {
    if (!before[at]) container.append(node);
    else if (!before[at].isEqualNode(node)) before[at].replaceWith(node);
  });
  for (const node of before.slice(after.length)) node.remove();
  [...container.querySelectorAll(".scroll")].forEach((element, at) => {
    element.scrollLeft = scrolled[at] ?? 0;
  });
  if (focused && !container.contains(document.activeElement)) {
    [...container.querySelectorAll(focused.kind)].find((element) => name(element).id === focused.id)?.focus();
  }
}

const summary = (details) => details.querySelector("summary")?.textContent;

function name(element) {
  const kind = element.tagName.toLowerCase();
  const id = element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.parentElement?.dataset.chart
    ?? element.textContent;
  return { kind, id };
}
