// What an operator changes, from any page.

import { call } from "./api.js";
import { ask } from "./dialogs.js";
import { h, problem, replace } from "./dom.js";
import { percent } from "./format.js";

/** Does it, and says in `said` what came of it. */
async function change(said, method, path, body, words) {
  try {
    const answer = await call(method, path, body);
    replace(said, h("p", { class: "notice" }, words(answer)));
    return answer;
  } catch (error) {
    replace(said, problem(error));
    return null;
  }
}

/** One route, or all when there is no name. One click opens the question, the second does it. */
export async function rollBack(world, name, said) {
  const note = await ask({
    title: name ? `Roll back ${name}` : "Roll back everything",
    words: [
      name ? `All requests of ${name} go to legacy at once.` : "All requests of all routes go to legacy at once.",
      "Pins and ramps end. What waits on the candidate and may be repeated is asked of legacy.",
    ],
    act: "Roll back now",
    danger: true,
  });
  if (!note) return;
  const path = name ? `/api/v1/routes/${encodeURIComponent(name)}/rollback` : "/api/v1/rollback";
  await change(said, "POST", path, note, (answer) => {
    const stored = answer.persisted ? "kept on disk" : `not kept: ${answer.persist_error}`;
    const shared = answer.shared ? "" : `; other gateways may not know yet: ${answer.share_error}`;
    const lost = answer.routes.flatMap((route) => route.only_candidate?.keys ?? []);
    const only = lost.length > 0 ? ` Legacy cannot serve: ${lost.join(", ")}.` : "";
    return `Back on legacy: ${answer.routes.map((route) => route.route).join(", ") || "nothing was elsewhere"} (revision ${answer.revision}, ${stored}${shared}).${only}`;
  });
}

/** Another weight or share of copies, as long as nobody has changed the document since it was shown. */
export async function setShare(world, name, what, from, to, said) {
  const revision = world.now.status.revision;
  const shadow = what === "shadow";
  const moved = Math.abs(to - from).toFixed(2).replace(/\.?0+$/, "");
  const note = await ask({
    title: shadow ? `Shadow ${percent(to)} of ${name}` : `Put ${percent(to)} of ${name} on the candidate`,
    words: [
      h("p", {}, h("strong", {}, `${name}: ${percent(from)} → ${percent(to)}`)),
      shadow
        ? "Callers notice nothing: copies have a budget of their own."
        : to > from
          ? `${moved} % of keys move from legacy to the candidate; no key that is there moves back.`
          : `${moved} % of keys move back to legacy.`,
      `Compared with revision ${revision}; if somebody changes it first, nothing happens.`,
    ],
    act: "Apply",
  });
  if (!note) return;
  await change(said, "PUT", `/api/v1/routes/${encodeURIComponent(name)}/${what}`,
    { percent: to, expected_revision: revision, ...note },
    (answer) => `${name}: ${percent(answer.from_percent)} → ${percent(answer.to_percent)} (revision ${answer.revision}).`);
}

const WORDS = {
  start: "The weight rises by the steps of the plan, as long as the candidate is no worse than legacy.",
  pause: "The weight stays where it is.",
  resume: "The step begins anew.",
  approve: "The step may end without another question.",
  promote: "The next step begins at once, whatever this one has shown.",
  abort: "The route goes back to the last weight that was proven.",
};

/** A command for a ramp. */
export async function ramp(world, name, command, said) {
  const note = await ask({ title: `${command} the ramp of ${name}`, words: WORDS[command], act: command, danger: command === "abort" });
  if (!note) return;
  await change(said, "POST", `/api/v1/routes/${encodeURIComponent(name)}/ramp/${command}`, note,
    (answer) => `The ramp of ${name} is ${answer.ramp.state} at step ${answer.ramp.step} (${percent(answer.ramp.percent)}).`);
}

/** A place in answers that is not to count any more. */
export async function ignore(world, name, path, said) {
  const note = await ask({
    title: `Ignore ${path}`,
    words: `Differences of ${name} at ${path} are no mismatches from now on. Undo takes it back.`,
    act: "Ignore",
  });
  if (!note) return;
  await change(said, "POST", "/api/v1/shadow/ignore", { route: name, path, ...note },
    (answer) => `${name}: ${path} is ignored (revision ${answer.revision}).`);
}

/** The last change, taken back. */
export async function undo(world, said) {
  const note = await ask({ title: "Undo the last change", words: "The document before it comes into force again, as a new revision.", act: "Undo" });
  if (!note) return;
  await change(said, "POST", "/api/v1/undo", note, (answer) => `Undone with revision ${answer.revision}.`);
}
