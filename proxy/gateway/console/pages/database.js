// Slices of the shared database: the gateway's own word on owner, stage and fence, and the migration tool's on the rest.

import { h, table } from "../dom.js";
import { ago, bytes, count, duration } from "../format.js";
import { redraw } from "../live.js";
import { Reports } from "../reports.js";

export function database(world) {
  const list = h("div", {});
  const content = [
    h("p", {}, "Owner, stage and fence are the gateway's. It has no address of the databases: what is in them is reported by ",
      h("code", {}, "strangler db sync SLICE --report"), " and ", h("code", {}, "strangler db verify SLICE --report"), "."),
    list,
  ];
  const draw = () => world.now && redraw(list, drawn(world.now.slices, reports));
  const reports = new Reports(draw);
  const onTick = ({ slices }) => {
    reports.tick(slices);
    draw();
  };
  return { title: "Database", content, onTick };
}

function drawn(slices, reports) {
  if (slices.length === 0) return h("p", {}, "No route of gateway.toml names a slice.");
  const rows = slices.map((slice) => {
    const streams = reports.of(slice, "streams");
    const now = stream(slice, streams);
    return [
      h("a", { href: `#/database/${encodeURIComponent(slice.name)}` }, slice.name), slice.owner, slice.stage, fence(slice.fence),
      now ? now.stage : "not reported", now?.copy ? count(now.copy.rows) : "–", bytes(now?.lag_bytes), duration(seconds(now?.lag_ms)),
      bytes(now?.slot?.held_bytes), streams ? count(now?.quarantined ?? 0) : "–", verified(reports.of(slice, "verify")),
      streams ? ago(streams.age) : "–",
    ];
  });
  return table("Slices", ["slice", "owner", "stage", "fence", "stream", "#rows copied", "#lag", "#lag in time", "#log held", "#quarantine",
    "comparison", "reported"], rows);
}

/** The stream that brings rows from the owner to the other side. */
export function stream(slice, streams) {
  const direction = slice.owner === "legacy" ? "forward" : "reverse";
  return streams?.report.streams.find((one) => one.direction === direction) ?? null;
}

export const seconds = (ms) => (ms === null || ms === undefined ? null : ms / 1000);

export function fence(standing) {
  if (!standing) return "none";
  return h("span", { class: "badge bad" }, `▮▮ holds ${count(standing.waiting)} writes, for ${duration(standing.held_ms / 1000)}`);
}

export function verified(found) {
  if (!found) return "not reported";
  const { running, last } = found.report;
  if (running) return `under way: ${count(running.rows)} rows, ${count(running.differences)} differ`;
  return last.clean
    ? h("span", { class: "badge good" }, `✓ ${count(last.rows)} rows are the same`)
    : h("span", { class: "badge bad" }, `✕ ${count(last.differ + last.unsettled)}${last.truncated ? " or more" : ""} of ${count(last.rows)} rows differ`);
}
