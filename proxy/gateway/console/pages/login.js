// Who holds a token of the admin API may look, or operate, as its role says.

import { h } from "../dom.js";

export function login(message, enter) {
  const given = h("input", { type: "password", id: "token", required: true, autocomplete: "current-password" });
  const says = h("p", { class: "problem", role: "alert", hidden: !message }, message ?? "");
  return h("form", {
    class: "login",
    onsubmit: async (event) => {
      event.preventDefault();
      const refused = await enter(given.value.trim());
      says.textContent = refused ?? "";
      says.hidden = !refused;
    },
  },
  h("h1", {}, "Strangler console"),
  h("p", {}, "The token is that of the gateway's admin API. It stays in this tab and is gone with it."),
  says,
  h("label", { for: "token" }, "Token"), given,
  h("div", { class: "inline" }, h("button", { type: "submit", class: "main" }, "Log in")));
}
