// The console: who is there, which page is shown, and what the gateway says each second.

import { Refused, follow, get, token } from "./api.js";
import { h, problem, replace } from "./dom.js";
import { Series } from "./measures.js";
import { audit } from "./pages/audit.js";
import { database } from "./pages/database.js";
import { login } from "./pages/login.js";
import { mismatch } from "./pages/mismatch.js";
import { retirement } from "./pages/retirement.js";
import { route } from "./pages/route.js";
import { routes } from "./pages/routes.js";
import { shadow } from "./pages/shadow.js";
import { slice } from "./pages/slice.js";

const main = document.getElementById("main");
const head = document.getElementById("head");
const state = document.getElementById("state");

/** What every page sees. `now` is the last event of the gateway. */
const world = { now: null, series: new Series(), get, go: (hash) => { location.hash = hash; } };

const PAGES = [
  [/^#?\/?$/, routes],
  [/^#\/routes\/([^/]+)$/, route],
  [/^#\/shadow$/, shadow],
  [/^#\/shadow\/([^/]+)$/, mismatch],
  [/^#\/database$/, database],
  [/^#\/database\/([^/]+)$/, slice],
  [/^#\/audit$/, audit],
  [/^#\/retirement$/, retirement],
];

/** The page that is shown: `onTick` is called with each event. */
let shown = { onTick: () => {} };
let stream = null;

function show() {
  if (!token.get()) return ask();
  head.hidden = false;
  const [, page, found] = PAGES.map(([pattern, page]) => [pattern, page, pattern.exec(location.hash)])
    .find(([, , match]) => match) ?? [null, notFound, []];
  for (const link of head.querySelectorAll("nav a")) {
    const at = link.getAttribute("href");
    const here = at === "#/" ? page === routes || page === route : location.hash.startsWith(at);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const built = page(world, ...found.slice(1).map(decodeURIComponent));
  document.title = `${built.title} – Strangler console`;
  shown = built;
  replace(main, built.above && h("p", { class: "above" }, h("a", { href: built.above[0] }, built.above[1])),
    h("div", { class: "title" }, h("h1", {}, built.title), built.actions), built.content);
  if (world.now) built.onTick?.(world.now);
  main.focus({ preventScroll: true });
}

function notFound() {
  return { title: "No such page", content: h("p", {}, h("a", { href: "#/" }, "All routes")) };
}

function ask(message) {
  stream?.abort();
  stream = null;
  head.hidden = true;
  document.title = "Log in – Strangler console";
  shown = { onTick: () => {} };
  replace(main, login(message, async (given) => {
    token.set(given);
    try {
      await get("/api/v1/status");
    } catch (error) {
      token.forget();
      return error instanceof Refused && error.status === 401 ? "This token is not one of the gateway's." : error.message;
    }
    listen();
    show();
    return null;
  }));
}

function listen() {
  stream?.abort();
  stream = new AbortController();
  const onEvent = (event) => {
    world.now = event;
    world.series.add(event.status);
    try {
      shown.onTick?.(event);
    } catch (error) {
      replace(main, problem(error));
      throw error;
    }
  };
  const onState = (connected) => {
    const words = connected ? "Live" : "Not connected; trying again";
    if (state.textContent !== words) state.textContent = words;
    state.classList.toggle("lost", !connected);
  };
  follow("/api/v1/events", stream.signal, onEvent, onState).catch((error) => {
    token.forget();
    ask(error.message);
  });
}

document.getElementById("leave").addEventListener("click", () => {
  token.forget();
  ask();
});
addEventListener("hashchange", show);
if (token.get()) listen();
show();
