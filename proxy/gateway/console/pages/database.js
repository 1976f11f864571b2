// Slices of the shared database, as the gateway knows them. What reads the databases themselves is the migration tool,
// which has their addresses; the gateway has not.

import { h, table } from "../dom.js";
import { redraw } from "../live.js";

export function database() {
  const list = h("div", {});
  const content = [
    h("p", {}, "Copying, lag, verification and the switch itself are the migration tool's, which has the addresses of the databases: ",
      h("code", {}, "strangler db status --watch"), ", ", h("code", {}, "strangler db cutover SLICE --plan"), "."),
    list,
  ];
  const onTick = ({ slices }) => redraw(list, slices.length === 0
    ? h("p", {}, "No route of gateway.toml names a slice.")
    : table("Slices", ["slice", "owner", "stage", "fence", "routes"], slices.map((slice) =>
      [slice.name, slice.owner, slice.stage, slice.fence ?? "–", slice.routes.join(", ")])));
  return { title: "Database", content, onTick };
}
