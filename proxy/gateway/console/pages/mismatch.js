// One request that both sides answered, and where the answers differ.

import { get } from "../api.js";
import { ignore } from "../changes.js";
import { h, problem, replace, table } from "../dom.js";

export function mismatch(world, id) {
  const said = h("div", { role: "status" });
  const content = h("div", {}, h("p", {}, "Reading …"));
  get(`/api/v1/shadow/mismatches/${encodeURIComponent(id)}`).then(
    (found) => replace(content, shown(world, found, said)),
    (error) => replace(content, problem(error)),
  );
  return { title: "Mismatch", content: [h("p", {}, h("a", { href: "#/shadow" }, "Shadow comparison")), said, content] };
}

function shown(world, { mismatch: found, rules }, said) {
  const rows = found.differences.map((difference) => [
    h("code", {}, difference.path), difference.kind, h("code", {}, difference.legacy ?? "nothing"),
    h("code", {}, difference.candidate ?? "nothing"),
    h("button", { type: "button", onclick: () => ignore(world, found.route, difference.path, said) }, `Ignore ${difference.path}`),
  ]);
  return [
    h("p", {}, `${found.at}, route ${found.route}, served by ${found.served_by}`),
    h("p", {}, h("code", {}, `${found.request.method} ${found.request.target}`)),
    h("p", {}, "Trace ", h("code", {}, found.trace_id), ", spans ", h("code", {}, found.served_span_id), " (served) and ",
      h("code", {}, found.copied_span_id), " (copy)"),
    table("Where they differ", ["path", "kind", "legacy", "candidate", "do"], rows),
    found.masked.length > 0 && h("p", {}, `Left out as noise: ${found.masked.join(", ")}`),
    h("h2", {}, "Both answers"),
    h("div", { class: "sides" }, answer("Legacy", found.legacy), answer("Candidate", found.candidate)),
    h("h2", {}, "Test case"),
    h("p", {}, "The request and the answer that is expected, as ", h("code", {}, `strangler shadow run CASE --against URL`), " takes it:"),
    h("div", { class: "inline" },
      h("button", { type: "button", disabled: !rules, onclick: () => save(`${found.id}.json`, testCase(found, rules)) }, "Save the test case"),
      h("span", {}, "or ", h("code", {}, `strangler shadow export ${found.id} --to case.json`))),
    rules && h("p", { class: "quiet" }, `Compared by ${rules.rules?.length ?? 0} rules of the route.`),
  ];
}

/** What `strangler shadow export` writes. Noise that was masked then is ignored now. */
function testCase(found, rules) {
  const ignored = found.masked.map((path) => ({ path, rule: "ignore" }));
  return { id: found.id, route: found.route, request: found.request, expected: found.legacy,
    rules: { ...rules, rules: [...rules.rules ?? [], ...ignored] } };
}

function save(name, what) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(what, null, 2)], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

function answer(title, { status, headers, body }) {
  return h("section", { "aria-label": `Answer of ${title.toLowerCase()}` },
    h("h3", {}, `${title}: ${status}`),
    table(`Headers of ${title.toLowerCase()}`, ["header", "value"], headers.map(([name, value]) => [name, value])),
    h("pre", { tabindex: "0", "aria-label": `Body of ${title.toLowerCase()}` }, pretty(body.text)),
    !body.whole && h("p", { class: "quiet" }, "Only the beginning is kept."));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
