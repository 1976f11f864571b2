// Ways through the console, as an operator takes them. `node walk.mjs WAY URL TOKEN [MORE]`; what a way has seen is
// printed as JSON.

import { readFile } from "node:fs/promises";

import { expect, logIn, open, tabTo, violations } from "./browser.mjs";

const [way, url, token, more] = process.argv.slice(2);
const console_ = { url, token };

const WAYS = { operate, database, accessible, screenshots };

/** Login, a weight by keyboard alone, a change that somebody else makes, a difference, a rollback in two actions. */
async function operate() {
  const { page, end } = await open(console_);
  // A wrong token first; all of it without a mouse.
  const given = page.getByLabel("Token");
  await tabTo(page, given);
  await page.keyboard.type("not-the-token");
  await page.keyboard.press("Enter");
  await page.getByText("This token is not one of the gateway's.").waitFor();
  await given.fill("");
  await tabTo(page, given);
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await page.getByText("Live", { exact: true }).waitFor();

  const route = page.getByRole("link", { name: "invoke", exact: true }).first();
  await route.waitFor();
  await tabTo(page, route);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Route invoke" }).waitFor();
  const weight = page.locator("#weight-number");
  await weight.waitFor({ state: "visible" });
  await tabTo(page, weight);
  await page.keyboard.press("Control+A");
  await page.keyboard.type("30");
  await page.getByText("Would change 0 % → 30 %.").waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("invoke: 0 % → 30 %").waitFor();
  await page.keyboard.type("by keyboard alone");
  await page.keyboard.press("Enter");
  await page.getByText(/invoke: 0 % → 30 % \(revision \d+\)/).waitFor();

  // Somebody else's change is seen without a reload.
  await page.evaluate(() => { globalThis.notLoadedAgain = true; });
  const answer = await fetch(`${url}/api/v1/routes/invoke/weight`, {
    method: "PUT", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ percent: 60, actor: "somebody else", reason: "from elsewhere" }),
  });
  expect(answer.ok, `the other change: ${answer.status}`);
  await page.getByText(/^60 % of keys on the candidate/).waitFor();
  expect(await page.evaluate(() => globalThis.notLoadedAgain), "the page was loaded again");
  // Both sides are in the charts, and in the tables behind them.
  await page.getByRole("img", { name: /^p50: legacy [\d.]+ .*, candidate [\d.]+ .*, ratio [\d.]+/ }).waitFor();

  await page.getByRole("link", { name: "Shadow" }).click();
  await page.getByRole("link", { name: "example of $.stub" }).click();
  await page.getByRole("heading", { name: "Mismatch" }).waitFor();
  await page.getByLabel("Body of legacy").getByText('"stub": "legacy"').waitFor();
  await page.getByLabel("Body of candidate").getByText('"stub": "candidate"').waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save the test case" }).click()]);
  const saved = JSON.parse(await readFile(await download.path(), "utf8"));

  await page.getByRole("link", { name: "Routes", exact: true }).click();
  await page.getByRole("link", { name: "invoke", exact: true }).first().click();
  // What a ramp that is not under way would not follow is not offered.
  const command = (name, off) => page.locator(`[data-command="${name}"][aria-disabled="${off}"]`).waitFor();
  await Promise.all([command("start", false), command("pause", true), command("abort", true)]);
  // The first action asks, with the field of the reason focused; the second does it.
  await page.getByRole("button", { name: "Roll back", exact: true }).click();
  await page.keyboard.type("p99 is twice that of legacy");
  const rolledBackMs = Date.now();
  await page.getByRole("button", { name: "Roll back now" }).click();
  await page.getByText(/^Back on legacy: invoke/).waitFor();
  await page.getByText(/^0 % of keys on the candidate/).waitFor();

  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByText("p99 is twice that of legacy").waitFor();
  await end();
  return { rolled_back_ms: rolledBackMs, saved };
}

/** How far a slice is, the plan of its cutover, and its retirement. */
async function database() {
  const { page, end } = await open(console_);
  await logIn(page, token);
  await page.getByRole("link", { name: "Database" }).click();
  await page.getByRole("link", { name: "orders", exact: true }).click();
  await page.getByRole("heading", { name: "Slice orders" }).waitFor();
  const plan = page.getByLabel("Plan");
  await plan.waitFor();
  const steps = await plan.getByRole("listitem").allTextContents();
  const obstacles = await plan.locator(".problem").allTextContents();
  const seen = await page.locator("main").innerText();
  await page.getByRole("link", { name: "Retirement" }).click();
  await page.getByText("not quiet for 30 days yet").first().waitFor();
  const retirement = await page.locator("main").innerText();
  await end();
  return { steps, obstacles, seen, retirement };
}

/** Every page in light and dark, with a dialog open as well. */
async function accessible() {
  const found = {};
  let pages = 0;
  for (const scheme of ["light", "dark"]) {
    const { page, end } = await open(console_, { scheme });
    const look = async (what) => {
      pages += 1;
      const here = await violations(page);
      if (here.length > 0) found[`${what}, ${scheme}`] = here;
    };
    await look("login");
    await logIn(page, token);
    for (const [hash, ready] of [
      ["#/", "Whose the rows are"], ["#/routes/invoke", "The plan of the ramp"], ["#/shadow", "The latest first"],
      ["#/database", "Slices"], ["#/database/orders", "Made"], ["#/audit", "The latest first"],
      ["#/retirement", "Tables of orders in the monolith"], ["#/nothing", "No such page"],
    ]) {
      await page.evaluate((to) => { location.hash = to; }, hash);
      await page.locator("main").getByText(ready).first().waitFor();
      await look(hash);
    }
    await page.evaluate(() => { location.hash = "#/shadow"; });
    await page.getByRole("link", { name: "example of $.stub" }).click();
    await page.getByRole("heading", { name: "Both answers" }).waitFor();
    await look("a mismatch");
    await page.evaluate(() => { location.hash = "#/"; });
    await page.getByRole("button", { name: "Roll back everything" }).click();
    await page.getByRole("dialog").waitFor();
    await look("a question before a change");
    await end();
  }
  return { pages, violations: found };
}

/** As long as a demonstration may take until it has something to show. */
const SHOW_MS = 1_200_000;

/** Pictures for the documentation, of a demonstration from its beginning to the split of the database. */
async function screenshots() {
  const { page, end } = await open(console_, { viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(SHOW_MS);
  await logIn(page, token);
  const taken = [];
  // The page from its top to the end of what is shown there last.
  const take = async (name, last) => {
    const { y, height } = await last.boundingBox();
    await page.screenshot({ path: `${more}/${name}.png`, fullPage: true, clip: { x: 0, y: 0, width: 1200, height: Math.ceil(y + height) + 10 } });
    taken.push(name);
  };
  const go = (hash) => page.evaluate((to) => { location.hash = to; }, hash);

  // The planted defect. What differs is read when the page is opened, and when it is told to.
  await go("#/shadow");
  await page.getByRole("row", { name: /^invoke / }).locator(".notable").waitFor();
  const example = page.getByRole("link", { name: "example of $.output.total" });
  while (await example.count() === 0) {
    await page.getByRole("button", { name: "Read the differences again" }).click();
    await page.waitForTimeout(1000);
  }
  await example.click();
  await take("mismatch", page.getByLabel("Body of candidate"));

  // The middle of the good candidate's ramp, which other routes follow: both sides have had traffic for a while.
  await go("#/");
  await page.getByRole("row", { name: /^function / }).getByText("50 %", { exact: true }).waitFor();
  await take("routes", page.getByRole("region", { name: "Whose the rows are" }));
  await go("#/routes/invoke");
  await page.getByRole("img", { name: /^p50: legacy [\d.]+ .*, candidate [\d.]+ / }).waitFor();
  await take("route", page.locator("figure").last());

  await go("#/database/functions");
  await page.getByRole("cell", { name: "streaming" }).first().waitFor();
  await take("slice", page.getByText("rows are the same"));
  await end();
  return { taken };
}

if (!WAYS[way]) {
  process.stderr.write(`usage: node walk.mjs ${Object.keys(WAYS).join("|")} URL TOKEN [FOLDER]\n`);
  process.exit(2);
}
try {
  process.stdout.write(`${JSON.stringify(await WAYS[way]())}\n`);
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}
