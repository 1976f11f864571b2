// Every route in one table, and what there is to be worried about.

import { h, svg, table } from "../dom.js";
import { duration, percent, rate, ratio, share, spoken } from "../format.js";
import { redraw } from "../live.js";
import { compared, mismatchShare } from "../measures.js";
import { rollBack } from "../changes.js";
import { fence } from "./database.js";

export function routes(world) {
  const warnings = h("div", {});
  const moving = h("div", {});
  const alone = h("div", {});
  const slices = h("div", {});
  const upstreams = h("div", {});
  const said = h("div", { role: "status" });
  const actions = h("button", { type: "button", class: "danger", onclick: () => rollBack(world, null, said) }, "Roll back everything");
  const content = [said, warnings, moving, h("h2", {}, "Slices of the database"), slices, alone, h("h2", {}, "Upstreams"), upstreams];
  const onTick = ({ status, ramps, shadow, slices: split }) => {
    redraw(warnings, worries(status));
    redraw(moving, routeTable(world, status.routes.filter((route) => route.stage !== "retired"), ramps, shadow));
    redraw(alone, aloneTable(world, status.routes.filter((route) => route.stage === "retired")));
    redraw(slices, sliceTable(split));
    redraw(upstreams, upstreamTable(status));
  };
  return { title: "Routes", actions, content, onTick };
}

function worries(status) {
  const words = [];
  if (status.reload_error) words.push(`The rollout document is refused; what was in force stays: ${status.reload_error}`);
  if (status.routes.some((route) => !route.sides)) words.push("Requests are not counted here: [request_metrics] in gateway.toml.");
  if (!status.rollout.store_up) words.push("The store of the rollout does not answer. Rollbacks work all the same.");
  if (status.rollout.pending_rollbacks.length > 0) {
    words.push(`Rolled back here and not in the store yet: ${status.rollout.pending_rollbacks.join(", ")}`);
  }
  return words.map((line) => h("p", { class: "problem", role: "alert" }, line));
}

function routeTable(world, list, ramps, shadow) {
  const rows = list.map((route) => {
    const { old, fresh, requests, success } = recently(world, route);
    const mismatch = mismatchShare(shadow.find((one) => one.route === route.name));
    return [
      h("a", { href: `#/routes/${encodeURIComponent(route.name)}` }, route.name),
      route.stage,
      weight(route.percent),
      requests > 0 && rate((old?.rate ?? 0) + (fresh?.rate ?? 0)),
      perfect(success, success === 1),
      latency(old),
      latency(fresh),
      ratio(compared(fresh?.p99 ?? null, old?.p99 ?? null)),
      perfect(mismatch, mismatch === 0),
      guard(ramps.find((ramp) => ramp.route === route.name)),
    ];
  });
  const columns = ["route", "stage", "#weight", "#requests", "#success", "#legacy p50 / p99", "#candidate p50 / p99",
    "#p99 candidate ÷ legacy", "#mismatch", "guard"];
  return table("Over the last ten seconds; mismatch since the gateway started", columns, rows);
}

function aloneTable(world, list) {
  if (list.length === 0) return null;
  const rows = list.map((route) => {
    const { fresh, requests, success } = recently(world, route);
    return [h("a", { href: `#/routes/${encodeURIComponent(route.name)}` }, route.name), requests > 0 && rate(fresh.rate),
      perfect(success, success === 1), latency(fresh)];
  });
  return [h("h2", {}, "Routes that legacy has no part in"),
    table("The same ten seconds", ["route", "#requests", "#success", "#candidate p50 / p99"], rows)];
}

/** Both sides over the last ten seconds, and the share of their answers that were none to be worried about. */
function recently(world, route) {
  const [old, fresh] = ["legacy", "candidate"].map((side) => world.series.recent(route.name, side));
  const requests = (old?.requests ?? 0) + (fresh?.requests ?? 0);
  const failed = [old, fresh].reduce((sum, side) => sum + (side?.success == null ? 0 : (1 - side.success) * side.requests), 0);
  return { old, fresh, requests, success: requests > 0 ? 1 - failed / requests : null };
}

const latency = (side) => side?.p50 != null && `${duration(side.p50)} / ${duration(side.p99)}`;

/** A share that stands out unless it is what it should be. */
const perfect = (value, is) => value !== null && h("span", { class: is ? null : "notable" }, share(value));

/** A percentage, and how far the bar of legacy has become that of the candidate. */
function weight(value) {
  const part = (side, x, width) => svg("rect", { class: side, x, y: 0, width, height: 6 });
  return [svg("svg", { class: "weight", viewBox: "0 0 50 6", "aria-hidden": "true" }, part("legacy", 0, 50), part("candidate", 0, value / 2)),
    h("span", { class: "share" }, percent(value))];
}

export function guard(ramp) {
  if (!ramp) return "–";
  const bad = ramp.verdict.startsWith("roll back");
  return [h("span", { class: bad ? "badge bad" : "badge" }, `${bad ? "✕ " : ""}${ramp.verdict}`),
    ramp.ramp && h("span", { class: "quiet" }, ` ramp ${spoken(ramp.ramp.state)}, step ${ramp.ramp.step}`)];
}

function sliceTable(split) {
  if (split.length === 0) return h("p", {}, "No route of gateway.toml names a slice.");
  return table("Whose the rows are", ["slice", "owner", "stage", "fence", "routes"], split.map((slice) => [
    h("a", { href: `#/database/${encodeURIComponent(slice.name)}` }, slice.name), slice.owner, slice.stage, fence(slice.fence), slice.routes.join(", "),
  ]));
}

function upstreamTable(status) {
  const rows = status.upstreams.map((upstream) => [
    upstream.name,
    upstream.address,
    h("span", { class: upstream.healthy ? "badge good" : "badge bad" }, upstream.healthy ? "✓ healthy" : "✕ no answer"),
    upstream.breaker ?? "–",
    upstream.in_flight,
  ]);
  return table("Health is shown; it does not decide where requests go", ["upstream", "address", "health", "breaker", "#in flight"], rows);
}
