// What the shadow has found: routes, then the places that differ, then single answers.

import { get } from "../api.js";
import { ignore } from "../changes.js";
import { h, problem, replace, table } from "../dom.js";
import { count, percent, share, spoken, when } from "../format.js";
import { redraw } from "../live.js";

export function shadow(world) {
  const said = h("div", { role: "status" });
  const counted = h("div", {});
  const found = h("div", {});
  const latest = h("div", {});
  const masks = h("div", {});
  const load = async () => {
    try {
      const [report, list] = await Promise.all([get("/api/v1/shadow"), get("/api/v1/shadow/mismatches?limit=50").catch(() => ({ mismatches: [] }))]);
      replace(found, clusters(world, report, said, load));
      replace(latest, mismatches(list.mismatches));
      replace(masks, masked(report.routes));
    } catch (error) {
      replace(found, problem(error));
    }
  };
  load();
  const content = [
    said, counted,
    h("h2", {}, "Places that differ"), found,
    h("h2", {}, "Latest mismatches"), latest,
    h("h2", {}, "Masked as noise"), masks,
  ];
  const onTick = (event) => redraw(counted, outcomes(event.shadow));
  const actions = h("button", { type: "button", onclick: load }, "Read the differences again");
  return { title: "Shadow comparison", actions, content, onTick };
}

function outcomes(routes) {
  if (routes.length === 0) return h("p", {}, "No route has a table [routes.shadow] in gateway.toml.");
  const rows = routes.map((route) => {
    const sum = (outcome) => route.outcomes.filter((one) => one.outcome === outcome).reduce((sum, one) => sum + one.requests, 0);
    const dropped = route.outcomes.filter((one) => one.outcome === "dropped" && one.requests > 0)
      .map((one) => h("div", { class: "quiet" }, `${spoken(one.reason)} ${count(one.requests)}`));
    const mismatch = share(route.mismatch_rate);
    return [h("a", { href: `#/routes/${encodeURIComponent(route.route)}` }, route.route), percent(route.percent), count(sum("equal")),
      count(sum("different")), count(sum("ignored")), [count(sum("dropped")), dropped], count(sum("not_sampled")),
      route.mismatch_rate > 0 ? h("span", { class: "notable" }, mismatch) : mismatch];
  });
  return table("Every request is in exactly one column", ["route", "#shadowed", "#equal", "#different", "#ignored", "#dropped",
    "#not sampled", "#mismatch"], rows);
}

function clusters(world, report, said, load) {
  if (report.store_problem) return h("p", { class: "problem" }, `The store of mismatches does not answer: ${report.store_problem}`);
  if (report.clusters.length === 0) return h("p", {}, "Nothing differs.");
  const rows = report.clusters.map((cluster) => [
    h("code", {}, cluster.path), cluster.route, cluster.kind, count(cluster.count), when(cluster.last_at),
    h("a", { href: `#/shadow/${cluster.example}`, "aria-label": `example of ${cluster.path}` }, "example"),
    h("button", { type: "button", class: "small", "aria-label": `Ignore ${cluster.path}`, onclick: async () => {
      await ignore(world, cluster.route, cluster.path, said);
      load();
    } }, "Ignore"),
  ]);
  return table("The most frequent first", ["difference at", "route", "kind", "#answers", "last (UTC)", "see", "do"], rows);
}

function mismatches(list) {
  if (list.length === 0) return h("p", {}, "None is kept.");
  return table("The latest first", ["at (UTC)", "route", "request", "differences"], list.map((one) => [
    h("a", { href: `#/shadow/${one.id}` }, when(one.at)), one.route, h("code", {}, one.shape),
    h("code", {}, one.clusters.map((cluster) => cluster.path).join(", ")),
  ]));
}

function masked(routes) {
  const rows = routes.flatMap((route) => [
    ...route.noise.masks.map((mask) => [mask, "masked"]), ...route.noise.over_cap.map((mask) => [mask, "over the cap, so not masked"]),
  ].map(([mask, is]) => [h("code", {}, mask.path), route.route, mask.kind, `${mask.noisy} of ${mask.seen}`, share(mask.rate_at_least), when(mask.until), is]));
  const ignored = routes.flatMap((route) => route.ignored.map((path) => `${route.route}: ${path}`));
  return [
    rows.length === 0 ? h("p", {}, "Legacy answers the same when it is asked twice.")
      : table("What legacy answers differently from itself", ["path", "route", "kind", "#noisy", "#rate at least", "until (UTC)", "is"], rows),
    ignored.length > 0 && h("p", {}, `Ignored by an operator: ${ignored.join("; ")}`),
  ];
}
