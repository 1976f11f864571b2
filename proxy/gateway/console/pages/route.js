// One route: where it stands, how both sides do, and what may be done with it.

import { chart } from "../chart.js";
import { ramp, rollBack, setShare } from "../changes.js";
import { h, table } from "../dom.js";
import { count, duration, percent, rate, share, spoken } from "../format.js";
import { redraw } from "../live.js";
import { guard } from "./routes.js";

const STAGES = ["legacy", "shadow", "canary", "candidate", "retired"];
const COMMANDS = ["start", "pause", "resume", "approve", "promote", "abort"];

export function route(world, name) {
  const said = h("div", { role: "status" });
  const stands = h("div", {});
  const ramps = h("div", {});
  const charts = h("div", { class: "charts" });
  const weight = shareForm(world, name, "weight", "Share of keys on the candidate, in percent", said);
  const copies = shareForm(world, name, "shadow", "Share of requests that are shadowed, in percent", said);
  // Such a button keeps the focus, which one that is switched off while it is pressed would lose.
  const isOff = (button) => button.getAttribute("aria-disabled") === "true";
  const commands = COMMANDS.map((command) => h("button", {
    type: "button", "data-command": command, "aria-disabled": "true",
    onclick: ({ currentTarget }) => isOff(currentTarget) || ramp(world, name, command, said),
  }, command));
  const ramping = h("section", {}, h("h2", {}, "Ramp"), ramps,
    h("div", { class: "inline", role: "group", "aria-label": "Commands of the ramp" }, commands));
  const actions = h("button", { type: "button", class: "danger", onclick: () => rollBack(world, name, said) }, "Roll back");
  const content = [
    stands,
    said,
    h("h2", {}, "Old against new"), charts,
    h("div", { class: "sides" }, weight.element, copies.element), ramping,
  ];
  const onTick = ({ status, ramps: all, shadow }) => {
    const found = status.routes.find((one) => one.name === name);
    if (!found) {
      redraw(stands, h("p", { class: "problem" }, "The gateway has no such route."));
      return;
    }
    const copied = shadow.find((one) => one.route === name);
    const ramped = all.find((one) => one.route === name);
    redraw(stands, stepper(found, copied), where(found, copied, ramped));
    weight.stands(found.percent, true);
    copies.stands(copied?.percent ?? 0, Boolean(copied));
    ramping.hidden = !ramped || ramped.steps.length === 0;
    if (ramped) redraw(ramps, steps(ramped));
    for (const button of commands) {
      button.setAttribute("aria-disabled", String(!ramped?.commands.includes(button.dataset.command)));
    }
    const points = world.series.points(name);
    const of = (what) => points.map(({ ago, legacy, candidate }) =>
      ({ ago, legacy: legacy?.[what] ?? null, candidate: candidate?.[what] ?? null }));
    const failing = points.map(({ ago, legacy, candidate }) => ({ ago,
      legacy: legacy?.success == null ? null : 1 - legacy.success,
      candidate: candidate?.success == null ? null : 1 - candidate.success }));
    redraw(charts,
      chart("p50", of("p50"), duration, { compare: true }), chart("p99", of("p99"), duration, { compare: true }),
      chart("Requests a second", of("rate"), rate), chart("Share that failed", failing, share, { least: 0.01 }));
  };
  return { title: `Route ${name}`, above: ["#/", "All routes"], actions, content, onTick };
}

function stepper(found, copied) {
  const stage = found.stage === "legacy" && (copied?.percent ?? 0) > 0 ? "shadow" : found.stage;
  return h("ol", { class: "stepper", "aria-label": "Stages of a migration" },
    STAGES.map((one) => h("li", { "aria-current": one === stage ? "step" : null }, one === stage ? `● ${one}` : one)));
}

function where(found, copied, ramped) {
  const fact = (value, words, notable = false) => h("li", {}, h("strong", { class: notable ? "notable" : null }, value), ` ${words}`);
  return h("ul", { class: "facts" },
    fact(percent(found.percent), "of keys on the candidate"),
    copied && fact(percent(copied.percent), "of requests shadowed"),
    copied && fact(share(copied.mismatch_rate), "of compared answers differ", copied.mismatch_rate > 0),
    fact(count(found.fallbacks), "requests fell back to legacy", found.fallbacks > 0),
    h("li", {}, "epoch ", h("strong", {}, found.epoch)),
    ramped && h("li", {}, "guard: ", guard(ramped)));
}

function steps(ramped) {
  const at = ramped.ramp?.step ?? 0;
  const rows = ramped.steps.map((step, index) => [
    `${index + 1}${at === index + 1 ? " ← here" : ""}`, percent(step.percent), duration(step.least_ms / 1000), step.least_requests,
    step.approval ? "yes" : "no",
  ]);
  const reason = ramped.ramp?.reason ? `: ${ramped.ramp.reason}` : "";
  const words = ramped.ramp
    ? `The ramp is ${spoken(ramped.ramp.state)} at step ${at}, proven to ${percent(ramped.ramp.proven_percent)}${reason}.`
    : "No ramp is under way.";
  return [h("p", {}, words), ramped.here?.problem && h("p", { class: "problem" }, ramped.here.problem),
    table("The plan of the ramp", ["step", "#weight", "#least time", "#least requests", "waits for approval"], rows)];
}

/** A slider and a number that say the same, and what would change before it does. */
function shareForm(world, name, what, label, said) {
  const title = what === "weight" ? "Weight" : "Shadow";
  const slider = h("input", { type: "range", min: "0", max: "100", step: "1", id: `${what}-slider` });
  const number = h("input", { type: "number", min: "0", max: "100", step: "0.01", id: `${what}-number`, required: true });
  const preview = h("p", { class: "quiet", "aria-live": "polite" });
  let from = 0;
  let touched = false;
  const show = () => {
    const to = Number(number.value);
    preview.textContent = to === from ? `In force: ${percent(from)}.` : `Would change ${percent(from)} → ${percent(to)}.`;
  };
  const took = (source, other) => () => {
    touched = true;
    other.value = source.value;
    show();
  };
  slider.addEventListener("input", took(slider, number));
  number.addEventListener("input", took(number, slider));
  const element = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      await setShare(world, name, what, from, Number(number.value), said);
      touched = false;
    },
  },
  h("h2", {}, title),
  h("label", { for: `${what}-slider` }, label), slider,
  h("label", { for: `${what}-number` }, `${title}, exactly`),
  h("div", { class: "inline" }, number, h("button", { type: "submit", class: "main" }, `Preview and apply ${what}`)),
  preview);
  return {
    element,
    stands: (value, possible) => {
      element.hidden = !possible;
      from = value;
      // Whoever is about to choose keeps what they chose.
      if (!touched && !element.contains(document.activeElement)) {
        slider.value = value;
        number.value = value;
      }
      show();
    },
  };
}
