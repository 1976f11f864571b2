// One request that both sides answered, and where the answers differ.

import { get } from "../api.js";
import { ignore } from "../changes.js";
import { h, problem, replace, table } from "../dom.js";
import { when } from "../format.js";

export function mismatch(world, id) {
  const said = h("div", { role: "status" });
  const content = h("div", {}, h("p", {}, "Reading …"));
  get(`/api/v1/shadow/mismatches/${encodeURIComponent(id)}`).then(
    (found) => replace(content, shown(world, found, said)),
    (error) => replace(content, problem(error)),
  );
  return { title: "Mismatch", above: ["#/shadow", "Shadow comparison"], content: [said, content] };
}

function shown(world, { mismatch: found, rules }, said) {
  const rows = found.differences.map((difference) => [
    h("code", {}, difference.path), difference.kind, h("code", {}, difference.legacy ?? "nothing"),
    h("code", {}, difference.candidate ?? "nothing"),
    h("button", { type: "button", class: "small", "aria-label": `Ignore ${difference.path}`,
      onclick: () => ignore(world, found.route, difference.path, said) }, "Ignore"),
  ]);
  const differing = new Set(found.differences.map((difference) => difference.path));
  return [
    h("p", {}, h("code", {}, `${found.request.method} ${found.request.target}`)),
    h("p", {}, `Route ${found.route}, served by ${found.served_by} at ${when(found.at)} UTC. Trace `, h("code", {}, found.trace_id), ", spans ", h("code", {}, found.served_span_id), " (served) and ",
      h("code", {}, found.copied_span_id), " (copy)."),
    table("Where they differ", ["path", "kind", "legacy", "candidate", "do"], rows),
    found.masked.length > 0 && h("p", {}, `Left out as noise: ${found.masked.join(", ")}`),
    h("h2", {}, "Both answers"),
    h("div", { class: "sides" }, answer("Legacy", found.legacy, differing), answer("Candidate", found.candidate, differing)),
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

function answer(title, { status, headers, body }, differing) {
  return h("section", { "aria-label": `Answer of ${title.toLowerCase()}` },
    h("h3", { class: title.toLowerCase() }, `${title}: ${status}`),
    h("pre", { tabindex: "0", "aria-label": `Body of ${title.toLowerCase()}` }, pretty(body.text, differing)),
    !body.whole && h("p", { class: "quiet" }, "Only the beginning is kept."),
    table(`Headers of ${title.toLowerCase()}`, ["header", "value"], headers.map(([name, value]) => [h("code", {}, name), h("code", {}, value)])));
}

/** JSON with its names in one order on both sides, and what differs marked; any other text as it is. */
function pretty(text, differing) {
  try {
    return laidOut(JSON.parse(text), "$", "", "", differing);
  } catch {
    return text;
  }
}

/** Paths are those of differences: exact, or with `[*]` for every index. */
function laidOut(value, path, name, indent, differing) {
  const drawn = [name, value !== null && typeof value === "object" ? nested(value, path, indent, differing) : JSON.stringify(value)];
  const differs = differing.has(path) || differing.has(path.replace(/\[\d+\]/g, "[*]"));
  return [indent, differs ? h("mark", {}, drawn) : drawn];
}

function nested(value, path, indent, differing) {
  const [begin, end] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const inside = Array.isArray(value)
    ? value.map((one, at) => [one, `${path}[${at}]`, ""])
    : Object.keys(value).sort().map((key) => [value[key], member(path, key), `${JSON.stringify(key)}: `]);
  if (inside.length === 0) return `${begin}${end}`;
  const parts = inside.map(([one, at, name], index) =>
    [laidOut(one, at, name, `${indent}  `, differing), index + 1 < inside.length ? ",\n" : "\n"]);
  return [`${begin}\n`, parts, `${indent}${end}`];
}

const member = (path, key) => (/^[A-Za-z_]\w*$/.test(key) ? `${path}.${key}` : `${path}['${key.replace(/['\\]/g, "\\$&")}']`);
