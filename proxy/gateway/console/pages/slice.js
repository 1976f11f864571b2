// One slice: how far its rows are, and what a change of its owner would do.

import { h, table } from "../dom.js";
import { ago, bytes, count, duration } from "../format.js";
import { redraw } from "../live.js";
import { Reports } from "../reports.js";
import { fence, seconds, stream, verified } from "./database.js";

/** A tool that runs reports every two seconds. */
const SILENT_SECONDS = 15;

export function slice(world, name) {
  const [stands, streams, quarantine, compared, owner] = Array.from({ length: 5 }, () => h("div", {}));
  const said = h("div", { role: "status" });
  const content = [
    stands,
    h("h2", {}, "Copy and streams"), streams,
    h("h2", {}, "Quarantine"), quarantine,
    h("h2", {}, "Comparison"), compared,
    h("h2", {}, "Change of owner"), said, owner,
  ];
  const draw = () => {
    const found = world.now?.slices.find((one) => one.name === name);
    if (!found) {
      redraw(stands, h("p", { class: "problem" }, "The gateway has no such slice."));
      return;
    }
    const of = (about) => reports.of(found, about);
    redraw(stands, where(found));
    redraw(streams, flows(found, of("streams")));
    redraw(quarantine, held(found, of("streams")));
    redraw(compared, differences(found, of("verify")));
    redraw(owner, change(found, of(verb(found)), said));
  };
  const reports = new Reports(draw);
  const onTick = ({ slices }) => {
    reports.tick(slices);
    draw();
  };
  return { title: `Slice ${name}`, above: ["#/database", "All slices"], content, onTick };
}

function where(found) {
  return table("As the gateway has it", ["owner", "stage", "candidate's upstream", "fence", "routes"],
    [[found.owner, found.stage, found.candidate, fence(found.fence), found.routes.join(", ")]]);
}

function flows(found, told) {
  const command = `strangler db sync ${found.name} --report`;
  if (!told) return h("p", {}, "Nobody has reported it: ", h("code", {}, command), " does, while it runs.");
  const silent = told.report.running && told.age > SILENT_SECONDS;
  const stopped = !told.report.running || silent;
  const rows = told.report.streams.map((one) => [
    one.direction, one.stage, count(one.transactions), count(one.changes), bytes(one.lag_bytes), duration(seconds(one.lag_ms)),
    duration(seconds(one.idle_ms)), bytes(one.slot?.held_bytes), one.slot ? bytes(one.slot.safe_bytes) : "no slot", one.reason ?? "no",
  ]);
  return [
    h("p", { class: "quiet" }, `Reported ${ago(told.age)} with the token of ${told.by}.`),
    stopped && h("p", { class: "problem" }, silent ? "Nobody has reported since; is it still running? " : "The tool was stopped; the source keeps its log for it. ",
      h("code", {}, command), " goes on."),
    copy(told.report.copying, stream(found, told)),
    rows.length === 0 ? h("p", {}, "No stream has begun.") : table("Streams", ["direction", "stage", "#transactions", "#changes", "#lag",
      "#lag in time", "#idle", "#log held", "#log left", "stopped by itself"], rows),
  ];
}

function copy(copying, now) {
  const done = copying ?? (now?.copy && { chunks: now.copy.chunks, chunks_done: now.copy.done, rows: now.copy.rows, bytes: now.copy.bytes });
  if (!done) return null;
  const speed = copying ? `, ${bytes(copying.bytes_per_second)}/s, ${copying.seconds_left === null ? "time left unknown" : `about ${duration(copying.seconds_left)} left`}` : "";
  const indexes = copying?.definitions > 0 ? `; indexes and constraints: ${copying.definitions_done} of ${copying.definitions}` : "";
  return h("p", {}, h("progress", { max: Math.max(done.chunks, 1), value: done.chunks_done, "aria-label": "Parts that are copied" }),
    ` Copy: ${count(done.chunks_done)} of ${count(done.chunks)} parts, ${count(done.rows)} rows, ${bytes(done.bytes)}${speed}${indexes}.`);
}

function held(found, told) {
  const list = told?.report.quarantine ?? [];
  if (!told) return h("p", {}, "Not reported.");
  if (list.length === 0) return h("p", {}, "Nothing is in quarantine.");
  const rows = list.map((one) => [one.id, one.direction, one.kind, h("code", {}, one.table), one.row_key.map((part) => part ?? "null").join(", "),
    one.reason ? `${one.reason} (${one.sqlstate}), refused ${one.attempts} times` : "waits behind an earlier change of the row", one.asked ?? "–"]);
  return [
    table("Changes that a database refused; they stand against a change of the owner", ["#number", "direction", "change", "table", "row", "why", "asked for"], rows),
    h("p", {}, h("code", {}, `strangler db quarantine retry ${found.name} --id NUMBER`), " writes one again, ",
      h("code", {}, "skip"), " leaves it out."),
  ];
}

function differences(found, told) {
  if (!told) {
    return h("p", {}, "Nobody has reported it: ", h("code", {}, `strangler db verify ${found.name} --report`), " does, with --continuous again and again.");
  }
  const { running, last } = told.report;
  const rows = (last?.differences ?? []).map((one) => [h("code", {}, one.table), h("code", {}, one.key), kind(one.kind)]);
  return [
    h("p", {}, verified(told), h("span", { class: "quiet" }, ` Reported ${ago(told.age)} with the token of ${told.by}.`)),
    running && h("p", {}, h("progress", { max: Math.max(running.parts, 1), value: running.parts_done, "aria-label": "Parts that are compared" }),
      ` ${count(running.tables_done)} of ${count(running.tables)} tables, ${count(running.parts_done)} of ${count(running.parts)} parts.`),
    rows.length > 0 && table("Rows that differ, the first of them", ["table", "key", "how"], rows),
  ];
}

function kind(what) {
  if (what?.columns) return `differs in ${what.columns.join(", ")}`;
  return { missing: "the candidate does not have it", extra: "only the candidate has it", unsettled: "changed each time it was looked at" }[what] ?? String(what);
}

const verb = (found) => (found.owner === "legacy" ? "cutover" : "rollback");

function change(found, told, said) {
  if (found.stage === "complete") return h("p", {}, "The rows are the candidate's, and there is no way back.");
  const words = verb(found) === "cutover" ? "Make the candidate the owner" : "Make the monolith the owner again";
  const command = told?.report.command ?? `strangler db ${verb(found)} ${found.name} --mapping MAPPING.TOML`;
  const honest = h("p", {}, "Rows move between databases whose addresses the gateway does not have, so this page shows the plan and the migration tool acts: ",
    "it makes the plan again, holds the writes here, and changes the owner in one revision.");
  const plan = told?.report.plan;
  return [
    h("h3", {}, words), honest,
    plan ? planned(plan, told) : h("p", {}, "Nobody has reported a plan. This makes one and changes nothing: ", h("code", {}, `${command} --plan`)),
    plan && runs(command, plan.obstacles.length === 0, said),
  ];
}

function planned(plan, told) {
  return h("section", { "aria-label": "Plan" },
    h("p", { class: "quiet" }, `Made ${ago(told.age)} with the token of ${told.by}.`),
    plan.obstacles.length === 0
      ? h("p", {}, h("span", { class: "badge good" }, "✓ nothing stands against it"))
      : plan.obstacles.map((one) => h("p", { class: "problem" }, `Not yet: ${one.what}. ${one.fix}.`)),
    h("ol", {}, plan.steps.map((step) => h("li", {}, step))),
    plan.notes.length > 0 && h("ul", {}, plan.notes.map((note) => h("li", {}, note))));
}

function runs(command, possible, said) {
  return [
    h("p", {}, possible ? "This carries it out: " : "When nothing stands against it any more, this carries it out: ", h("code", {}, command)),
    h("button", { type: "button", class: possible ? "main" : null, onclick: async () => {
      const copied = await navigator.clipboard?.writeText(command).then(() => true, () => false);
      said.replaceChildren(h("p", { class: "notice" }, copied ? `Copied: ${command}` : "The browser does not let this page copy; select the command instead."));
    } }, "Copy the command"),
  ];
}
