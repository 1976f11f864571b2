// Every route in one table, and what there is to be worried about.

import { h, table } from "../dom.js";
import { duration, percent, rate, ratio, share } from "../format.js";
import { redraw } from "../live.js";
import { compared, mismatchShare } from "../measures.js";
import { rollBack } from "../changes.js";
import { fence } from "./database.js";

export function routes(world) {
  const warnings = h("div", {});
  const list = h("div", {});
  const slices = h("div", {});
  const upstreams = h("div", {});
  const said = h("div", { role: "status" });
  const content = [
    h("div", { class: "inline" },
      h("button", { type: "button", class: "danger", onclick: () => rollBack(world, null, said) }, "Roll back everything")),
    said, warnings, list, h("h2", {}, "Slices of the database"), slices, h("h2", {}, "Upstreams"), upstreams,
  ];
  const onTick = ({ status, ramps, shadow, slices: split }) => {
    redraw(warnings, worries(status));
    redraw(list, routeTable(world, status, ramps, shadow));
    redraw(slices, sliceTable(split));
    redraw(upstreams, upstreamTable(status));
  };
  return { title: "Routes", content, onTick };
}

function worries(status) {
  const words = [];
  if (status.reload_error) words.push(`The rollout document is refused; what was in force stays: ${status.reload_error}`);
  if (!status.rollout.store_up) words.push("The store of the rollout does not answer. Rollbacks work all the same.");
  if (status.rollout.pending_rollbacks.length > 0) {
    words.push(`Rolled back here and not in the store yet: ${status.rollout.pending_rollbacks.join(", ")}`);
  }
  return words.map((line) => h("p", { class: "problem", role: "alert" }, line));
}

function routeTable(world, status, ramps, shadow) {
  const rows = status.routes.map((route) => {
    const [old, fresh] = ["legacy", "candidate"].map((side) => world.series.recent(route.name, side));
    const requests = (old?.requests ?? 0) + (fresh?.requests ?? 0);
    const failed = [old, fresh].reduce((sum, side) => sum + (side?.success == null ? 0 : (1 - side.success) * side.requests), 0);
    const ramp = ramps.find((ramp) => ramp.route === route.name);
    return [
      h("a", { href: `#/routes/${encodeURIComponent(route.name)}` }, route.name),
      route.stage,
      percent(route.percent),
      requests > 0 ? share(1 - failed / requests) : "–",
      rate((old?.rate ?? 0) + (fresh?.rate ?? 0)),
      `${duration(old?.p50)} / ${duration(old?.p99)}`,
      `${duration(fresh?.p50)} / ${duration(fresh?.p99)}`,
      ratio(compared(fresh?.p99 ?? null, old?.p99 ?? null)),
      share(mismatchShare(shadow.find((one) => one.route === route.name))),
      guard(ramp),
    ];
  });
  const columns = ["route", "stage", "#weight", "#success", "#requests", "#legacy p50 / p99", "#candidate p50 / p99",
    "#p99 new ÷ old", "#mismatch", "guard"];
  return table("Over the last ten seconds; mismatch since the gateway started", columns, rows);
}

export function guard(ramp) {
  if (!ramp) return "–";
  const bad = ramp.verdict.startsWith("roll back");
  const running = ramp.ramp ? `, ramp ${ramp.ramp.state}, step ${ramp.ramp.step}` : "";
  return h("span", { class: bad ? "badge bad" : "badge" }, `${bad ? "✕ " : ""}${ramp.verdict}${running}`);
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
