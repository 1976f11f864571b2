// Lines of both sides, and of their ratio where it says something, with the same numbers in a table behind them.

import { h, svg, table } from "./dom.js";
import { ratio } from "./format.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [560, 200, 62, 36, 12, 24];

/**
 * `points` have `ago` in seconds, and `legacy` and `candidate` as numbers or null; the axis goes to `least` at least.
 * With `compare` there is the ratio of both, which has an axis of its own, to the right, from 0 to at least 2.
 */
export function chart(title, points, show, { compare = false, least = 1e-9 } = {}) {
  const open = document.querySelector(`details[data-chart="${CSS.escape(title)}"]`)?.open ?? false;
  const withRatio = points.map((point) => ({ ...point,
    ratio: compare && point.candidate !== null && point.legacy ? point.candidate / point.legacy : null }));
  const most = round(Math.max(...withRatio.flatMap((point) => [point.legacy ?? 0, point.candidate ?? 0]), least));
  const mostRatio = Math.max(2, ...withRatio.map((point) => Math.min(point.ratio ?? 0, 20)));
  const longest = Math.max(...withRatio.map((point) => point.ago), 1);
  const x = (ago) => LEFT + (1 - ago / longest) * (WIDTH - LEFT - RIGHT);
  const y = (value, top) => TOP + (1 - Math.min(value / top, 1)) * (HEIGHT - TOP - BOTTOM);
  const line = (of, top) => withRatio.reduce(({ d, pen }, point) => {
    if (point[of] === null) return { d, pen: "M" };
    return { d: `${d}${pen}${x(point.ago).toFixed(1)} ${y(point[of], top).toFixed(1)}`, pen: "L" };
  }, { d: "", pen: "M" }).d;
  const text = (at, height, words, anchor, of = "") => svg("text", { x: at, y: height, "text-anchor": anchor, class: of }, words);
  const level = (height, of) => svg("line", { class: of, x1: LEFT, x2: WIDTH - RIGHT, y1: height, y2: height });
  const last = withRatio.findLast((point) => point.legacy !== null || point.candidate !== null);
  const shown = (value) => (value === null || value === undefined ? "no data" : show(value));
  const words = last
    ? `${title}: legacy ${shown(last.legacy)}, candidate ${shown(last.candidate)}${compare ? `, ratio ${last.ratio === null ? "unknown" : ratio(last.ratio)}` : ""}`
    : `${title}: no data yet`;
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    ...[0, 0.5, 1].flatMap((part) => [level(y(part, 1), "axis"), text(LEFT - 6, y(part, 1) + 4, part === 0 ? "0" : show(most * part), "end")]),
    text(LEFT, HEIGHT - 6, `${Math.round(longest)} s ago`, "start"), text(WIDTH - RIGHT, HEIGHT - 6, "now", "end"),
    ...(compare ? [level(y(1, mostRatio), "same"), text(WIDTH - RIGHT + 5, y(1, mostRatio) + 4, "1 ×", "start", "ratio"),
      svg("path", { class: "ratio", d: line("ratio", mostRatio) })] : []),
    svg("path", { class: "legacy", d: line("legacy", most) }),
    svg("path", { class: "candidate", d: line("candidate", most) }));
  const rows = withRatio.filter((_, at) => at % 5 === 0).reverse().slice(0, 30).map((point) =>
    [`${Math.round(point.ago)} s`, shown(point.legacy), shown(point.candidate), ...(compare ? [point.ratio === null ? "–" : ratio(point.ratio)] : [])]);
  const columns = ["ago", "#legacy", "#candidate", ...(compare ? ["#candidate ÷ legacy"] : [])];
  return h("figure", {},
    h("figcaption", {}, title),
    h("ul", { class: "key" },
      side("legacy", "legacy", shown(last?.legacy)),
      side("candidate", "candidate", shown(last?.candidate)),
      compare && side("ratio", "candidate ÷ legacy", last?.ratio ? ratio(last.ratio) : "–")),
    drawing,
    h("details", { "data-chart": title, open }, h("summary", {}, "The same as a table"),
      table(`${title}, every fifth second`, columns, rows)));
}

/** What a line is drawn like, whose it is, and where it is now. */
function side(of, name, value) {
  const sample = svg("svg", { class: "chart sample", viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("path", { class: of, d: "M0 4L24 4" }));
  return h("li", { class: of }, sample, ` ${name} `, h("strong", {}, value));
}

/** The next number of one figure that is 1, 2, 3, 4, 5, 6 or 8, so that the axis stays where it is for a while. */
function round(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 2, 3, 4, 5, 6, 8, 10];
  return unit * (steps.find((step) => step * unit >= value * (1 - 1e-9)) ?? 10);
}
