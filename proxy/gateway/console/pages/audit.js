// Who changed what, from what, to what, why and when.

import { get } from "../api.js";
import { undo } from "../changes.js";
import { h, problem, replace, table } from "../dom.js";
import { when } from "../format.js";

export function audit(world) {
  const said = h("div", { role: "status" });
  const chain = h("div", {});
  const list = h("div", {});
  let revision = null;
  const load = async () => {
    try {
      const { entries } = await get("/api/v1/history?limit=200");
      replace(list, entries.length === 0 ? h("p", {}, "Nothing was changed yet.") : table("The latest first",
        ["#revision", "at (UTC)", "who", "shown by", "kind", "what", "why"], entries.map((entry) => [
          entry.revision, when(entry.at), entry.actor, entry.authenticated_as, entry.kind,
          entry.changes.map((change) => h("div", {}, h("code", {}, change.key), `: ${change.before ?? "–"} → ${change.after ?? "–"}`)), entry.reason,
        ])));
    } catch (error) {
      replace(list, problem(error));
    }
  };
  const verify = async () => {
    try {
      const found = await get("/api/v1/history/verification");
      replace(chain, found.verified
        ? h("p", { class: "notice" }, `${found.revisions} revisions, and nothing was altered, removed or moved. Head: `, h("code", {}, found.head ?? "none"))
        : h("p", { class: "problem" }, `The history was tampered with: ${found.problem}`));
    } catch (error) {
      replace(chain, problem(error));
    }
  };
  const actions = h("div", { class: "inline" },
    h("button", { type: "button", onclick: verify }, "Verify the chain"),
    h("button", { type: "button", onclick: async () => {
      await undo(world, said);
      load();
    } }, "Undo the last change"));
  const content = [said, chain, list];
  load();
  const onTick = ({ status }) => {
    if (revision !== null && revision !== status.revision) load();
    revision = status.revision;
  };
  return { title: "Audit", actions, content, onTick };
}
