// A real Chromium in front of a console, and what it must never do: ask another origin, break the content policy, or
// throw an error that nobody sees.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// Packages are where CONSOLE_PACKAGES says, outside of the source.
const require = createRequire(pathToFileURL(`${process.env.CONSOLE_PACKAGES}/package.json`));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** As long as anything may take on a busy machine. */
const PATIENCE_MS = 60_000;

const STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export async function open(console_, { scheme = "light", viewport = { width: 1280, height: 900 } } = {}) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--disable-dev-shm-usage"] });
  const context = await browser.newContext({ colorScheme: scheme, viewport, reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const wrong = [];
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== console_.url && protocol !== "data:") wrong.push(`asked another origin: ${request.url()}`);
  });
  page.on("pageerror", (error) => wrong.push(`threw: ${error.message}`));
  await page.exposeFunction("policyBroken", (what) => wrong.push(`broke the content policy: ${what}`));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => globalThis.policyBroken(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(console_.url);
  return {
    page,
    wrong,
    async end() {
      await browser.close();
      expect(wrong.length === 0, `the console ${wrong.join("; ")}`);
    },
  };
}

export async function logIn(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("Live", { exact: true }).waitFor();
}

/** Violations of the standards, each with where it is. */
export async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate((tags) => globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } }), STANDARDS);
  return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")} (${one.help})`);
}

/** Presses Tab until the element has the focus, as whoever has no mouse does. */
export async function tabTo(page, element) {
  for (let presses = 0; presses < 200; presses += 1) {
    if (await element.evaluate((it) => it === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not lead to ${element}`);
}

export function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}
