// Lines of both sides and of their ratio, with the same numbers in a table behind them.

import { h, table } from "./dom.js";
import { ratio } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [480, 176, 66, 40, 8, 20];

function svg(name, attributes, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * `points` have `ago` in seconds, and `legacy` and `candidate` as numbers or null. The ratio has an axis of its own,
 * to the right, from 0 to at least 2.
 */
export function chart(title, points, show) {
  const open = document.querySelector(`details[data-chart="${CSS.escape(title)}"]`)?.open ?? false;
  const withRatio = points.map((point) => ({ ...point,
    ratio: point.candidate !== null && point.legacy ? point.candidate / point.legacy : null }));
  const most = Math.max(...withRatio.flatMap((point) => [point.legacy ?? 0, point.candidate ?? 0]), 1e-9);
  const mostRatio = Math.max(2, ...withRatio.map((point) => Math.min(point.ratio ?? 0, 20)));
  const longest = Math.max(...withRatio.map((point) => point.ago), 1);
  const x = (ago) => LEFT + (1 - ago / longest) * (WIDTH - LEFT - RIGHT);
  const y = (value, top) => TOP + (1 - Math.min(value / top, 1)) * (HEIGHT - TOP - BOTTOM);
  const line = (of, top) => withRatio.reduce(({ d, pen }, point) => {
    if (point[of] === null) return { d, pen: "M" };
    return { d: `${d}${pen}${x(point.ago).toFixed(1)} ${y(point[of], top).toFixed(1)}`, pen: "L" };
  }, { d: "", pen: "M" }).d;
  const text = (at, height, words, anchor) => {
    const element = svg("text", { x: at, y: height, "text-anchor": anchor });
    element.append(words);
    return element;
  };
  const last = withRatio.findLast((point) => point.legacy !== null || point.candidate !== null);
  const shown = (value) => (value === null || value === undefined ? "no data" : show(value));
  const words = last
    ? `${title}: legacy ${shown(last.legacy)}, candidate ${shown(last.candidate)}, ratio ${last.ratio === null ? "unknown" : ratio(last.ratio)}`
    : `${title}: no data yet`;
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(1, mostRatio), y2: y(1, mostRatio), "stroke-dasharray": "1 4" }),
    text(LEFT - 4, TOP + 10, show(most), "end"), text(LEFT - 4, HEIGHT - BOTTOM, "0", "end"),
    text(WIDTH - RIGHT + 4, y(1, mostRatio) + 4, "1 ×", "start"),
    text(LEFT, HEIGHT - 4, `${Math.round(longest)} s ago`, "start"), text(WIDTH - RIGHT, HEIGHT - 4, "now", "end"),
    svg("path", { class: "legacy", d: line("legacy", most) }),
    svg("path", { class: "candidate", d: line("candidate", most) }),
    svg("path", { class: "ratio", d: line("ratio", mostRatio) }));
  const rows = withRatio.filter((_, at) => at % 5 === 0).reverse().slice(0, 30).map((point) =>
    [`${Math.round(point.ago)} s`, shown(point.legacy), shown(point.candidate), point.ratio === null ? "–" : ratio(point.ratio)]);
  return h("figure", {},
    h("figcaption", {}, title),
    h("ul", { class: "key" },
      h("li", { class: "legacy" }, `- - legacy ${shown(last?.legacy)}`),
      h("li", { class: "candidate" }, `— candidate ${shown(last?.candidate)}`),
      h("li", { class: "ratio" }, `··· candidate ÷ legacy ${last?.ratio ? ratio(last.ratio) : "–"}`)),
    drawing,
    h("details", { "data-chart": title, open }, h("summary", {}, "The same as a table"),
      table(`${title}, every fifth second`, ["ago", "#legacy", "#candidate", "#candidate ÷ legacy"], rows)));
}
