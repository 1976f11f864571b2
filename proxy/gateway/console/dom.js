// Elements from plain calls. Text is always text: nothing that a server says becomes markup.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** A table with its head; a cell that is a number is set right. Wide tables scroll by themselves, also by keyboard. */
export function table(caption, columns, rows) {
  const numeric = new Set(columns.flatMap((column, at) => (column.startsWith("#") ? [at] : [])));
  const head = columns.map((column, at) =>
    h("th", { scope: "col", class: numeric.has(at) ? "number" : null }, column.replace(/^#/, "")));
  const nothing = h("span", { class: "quiet" }, "–");
  const filled = (cell) => (cell === null || cell === undefined || cell === false || cell === "–" ? nothing.cloneNode(true) : cell);
  const body = rows.map((row) => h("tr", {}, row.map((cell, at) => at === 0
    ? h("th", { scope: "row", class: numeric.has(at) ? "number" : null }, filled(cell))
    : h("td", { class: numeric.has(at) ? "number" : null }, filled(cell)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, String(error.message ?? error));
}
