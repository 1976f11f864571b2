// Questions that come before a change: what it does, who asks, and why.

import { h } from "./dom.js";

const ACTOR = "strangler-actor";

/**
 * Asks for a reason and a name; answers `{reason, actor}`, or null when the person thinks better of it.
 */
export function ask({ title, words, act, danger = false }) {
  return new Promise((resolve) => {
    const reason = h("input", { type: "text", id: "reason", required: true, maxlength: "500", autocomplete: "off" });
    const actor = h("input", { type: "text", id: "actor", maxlength: "500", autocomplete: "username" });
    actor.value = sessionStorage.getItem(ACTOR) ?? "";
    const done = (answer) => {
      dialog.close();
      dialog.remove();
      before?.focus?.();
      resolve(answer);
    };
    const form = h("form", {
      method: "dialog",
      onsubmit: (event) => {
        event.preventDefault();
        sessionStorage.setItem(ACTOR, actor.value);
        done({ reason: reason.value, actor: actor.value });
      },
    },
    h("h2", { id: "dialog-title" }, title),
    [words].flat().map((line) => (typeof line === "string" ? h("p", {}, line) : line)),
    h("label", { for: "reason" }, "Reason (kept in the history)"), reason,
    h("label", { for: "actor" }, "Your name"), actor,
    h("div", { class: "inline" },
      h("button", { type: "submit", class: danger ? "danger" : "main" }, act),
      h("button", { type: "button", onclick: () => done(null) }, "Cancel")));
    const before = document.activeElement;
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", oncancel: (event) => {
      event.preventDefault();
      done(null);
    } }, form);
    document.body.append(dialog);
    dialog.showModal();
    reason.focus();
  });
}
