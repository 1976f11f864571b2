// What legacy is still asked for.

import { h, table } from "../dom.js";
import { duration, percent, rate } from "../format.js";
import { redraw } from "../live.js";

export function retirement(world) {
  const list = h("div", {});
  const content = [
    h("p", {}, "A route without requests to legacy for longer than its rarest caller's interval can be retired: raise it to 100 %, ",
      "take ", h("code", {}, "legacy"), " from its table in gateway.toml, and its code from the monolith. Tables and columns: ",
      h("code", {}, "strangler db retire"), "."),
    list,
  ];
  const onTick = ({ status }) => {
    const rows = status.routes.map((route) => {
      const recent = world.series.recent(route.name, "legacy", 60);
      const { requests } = route.sides.legacy;
      const quiet = requests === 0 ? `all ${duration(status.uptime_seconds)} that this gateway runs` : "no";
      return [h("a", { href: `#/routes/${encodeURIComponent(route.name)}` }, route.name), route.stage, percent(route.percent), requests,
        rate(recent?.rate ?? 0), quiet];
    });
    redraw(list, table("Requests that legacy has served", ["route", "stage", "#weight", "#since the gateway started", "#last minute", "quiet for"], rows));
  };
  return { title: "Retirement", content, onTick };
}
