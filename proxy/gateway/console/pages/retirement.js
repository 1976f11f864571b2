// What legacy is still asked for, and who still uses its tables.

import { h, table } from "../dom.js";
import { ago, bytes, count, duration, percent, rate, when } from "../format.js";
import { redraw } from "../live.js";
import { Reports } from "../reports.js";

export function retirement(world) {
  const list = h("div", {});
  const tables = h("div", {});
  const content = [
    h("p", {}, "A route without requests to legacy for longer than its rarest caller's interval can be retired: raise it to 100 %, ",
      "take ", h("code", {}, "legacy"), " from its table in gateway.toml, and its code from the monolith."),
    list,
    h("h2", {}, "Tables"), tables,
  ];
  const draw = () => world.now && redraw(tables, world.now.slices.length === 0
    ? h("p", {}, "No route of gateway.toml names a slice.")
    : world.now.slices.map((slice) => h("section", {}, h("h3", {}, `Slice ${slice.name}`), looked(slice, reports.of(slice, "retire")))));
  const reports = new Reports(draw);
  const onTick = ({ status, slices }) => {
    const rows = status.routes.map((route) => {
      const recent = world.series.recent(route.name, "legacy", 60);
      const requests = route.sides?.legacy.requests ?? "not counted";
      const quiet = requests === 0 ? `all ${duration(status.uptime_seconds)} that this gateway runs` : route.sides ? "no" : "not known";
      return [h("a", { href: `#/routes/${encodeURIComponent(route.name)}` }, route.name), route.stage, percent(route.percent), requests,
        recent ? rate(recent.rate) : "–", quiet];
    });
    redraw(list, table("Requests that legacy has served", ["route", "stage", "#weight", "#since the gateway started", "#last minute", "quiet for"], rows));
    reports.tick(slices);
    draw();
  };
  return { title: "Retirement", content, onTick };
}

function looked(slice, told) {
  if (!told) return h("p", {}, "Nobody has reported it: ", h("code", {}, `strangler db retire ${slice.name} --gateway`), " looks, and is to be asked every day.");
  const { report } = told;
  return [
    h("p", {}, quiet(report.quiet, `quiet for ${report.quiet_days} days`, `not quiet for ${report.quiet_days} days yet`),
      h("span", { class: "quiet" }, ` Looked at ${ago(told.age)} with the token of ${told.by}.`)),
    table(`Tables of ${slice.name} in the monolith`, ["table", "is", "#quiet days", "read", "written", "#rows, about", "#size", "seen at it"],
      report.tables.map((one) => [h("code", {}, one.table), quiet(one.is_quiet, "quiet", "in use"), one.quiet_days, seen(one.read_at), seen(one.written_at),
        count(one.rows), bytes(one.bytes), [...new Set(one.users.map((user) => [user.role, user.application].filter(Boolean).join(" as ")))].join(", ") || "nobody"])),
    report.routes.length > 0 && table(`Routes, as ${slice.name} was looked at`, ["route", "is", "#quiet days", "legacy answered until"],
      report.routes.map((one) => [one.route, quiet(one.is_quiet, "quiet", "in use"), one.quiet_days, seen(one.seen_at)])),
    h("details", {}, h("summary", {}, `What would archive and drop the tables of ${slice.name}; nothing here does`),
      h("pre", { tabindex: "0", "aria-label": `What would archive and drop the tables of ${slice.name}` },
        [...report.plan.archive, ...report.plan.dependents.map((one) => `${one.removal};  -- ${one.shown}`), ...report.plan.drops.map((drop) => `${drop};`)].join("\n"))),
  ];
}

const seen = (at) => (at ? when(at) : "not seen");

const quiet = (is, yes, no) => h("span", { class: is ? "badge good" : "badge bad" }, is ? `✓ ${yes}` : `✕ ${no}`);
