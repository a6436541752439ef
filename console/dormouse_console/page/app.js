// Wires the page up: who asks, which page is shown, and how often it asks anew.

import { forgetToken, get, hasToken } from "./api.js";
import { setText, show } from "./dom.js";
import { Fleet } from "./fleet.js";
import { t } from "./i18n.js";
import { onLanguage, showLanguage } from "./languages.js";
import { ModelPage } from "./model.js";
import { whyNot } from "./refusals.js";
import { hideSignIn, showSignIn } from "./session.js";

const EVERY_MS = 5000;
const AFTER_A_CHANGE_MS = 1000;
const CHANGE_TAKES_MS = 20_000;
const SLOW_EVERY_MS = 15_000;
// Of a large fleet an answer takes longer; no more than this share of the time is spent on asking.
const AT_MOST = 0.05;

const $ = (id) => document.getElementById(id);
const fleet = new Fleet($("fleet"));

let session = null;
let model = null;
let mode = "connecting";
let changedAt = -Infinity;
let slowAt = -Infinity;
let timer = null;
let round = 0;

/** Ask for what the page shows, again and again; a round that was overtaken shows nothing. */
async function ask() {
  clearTimeout(timer);
  if (session === null) return;
  const mine = ++round;
  const began = performance.now();
  const slow = began - slowAt >= SLOW_EVERY_MS || recentlyChanged();
  if (slow) slowAt = began;
  try {
    const page = model ?? fleet;
    await page.load();
    if (mine !== round) return;
    setMode("polling");
    setText($("problem"), "");
    if (slow) await (model === null ? fleet.loadSavings() : model.loadReplicas());
  } catch (error) {
    if (mine !== round) return;
    if (error.status === 401) return signIn(whyNot(error));
    setMode("lost");
    setText($("problem"), error.status === 403 && model === null && fleet.namespace === null ? t("notClusterWide") : whyNot(error));
    if (error.status === undefined) throw error;
  }
  if (mine !== round || document.hidden) return;
  const took = performance.now() - began;
  timer = setTimeout(ask, Math.max(recentlyChanged() ? AFTER_A_CHANGE_MS : EVERY_MS, took / AT_MOST));
}

function recentlyChanged() {
  return performance.now() - changedAt < CHANGE_TAKES_MS;
}

function askSoon() {
  slowAt = -Infinity;
  return ask();
}

function route() {
  const found = /^#\/models\/([^/]+)\/([^/]+)$/.exec(location.hash);
  model = null;
  changedAt = -Infinity;
  if (found !== null && session !== null) {
    const [namespace, name] = found.slice(1).map(decodeURIComponent);
    model = new ModelPage($("model"), namespace, name, () => {
      changedAt = performance.now();
      askSoon();
    });
  } else {
    $("model").replaceChildren();
    document.title = t("title");
  }
  show($("model"), session !== null && model !== null);
  show($("fleet"), session !== null && model === null);
  setText($("problem"), "");
  scrollTo(0, 0);
  if (model === null) fleet.tick();
  askSoon();
}

function signedIn(now) {
  session = now;
  hideSignIn();
  setText($("user"), t(session.local ? "asUserLocal" : "asUser", { user: session.user }));
  setText($("version"), t("version", { version: session.version }));
  show($("sign-out"), !session.local);
  route();
}

function signIn(because = "") {
  clearTimeout(timer);
  session = null;
  model = null;
  // Whoever signs in next may see less.
  fleet.clear();
  $("model").replaceChildren();
  show($("fleet"), false);
  show($("model"), false);
  show($("sign-out"), false);
  setText($("user"), "");
  setText($("problem"), "");
  setMode("signedOut");
  showSignIn(because, signedIn);
}

async function begin() {
  showLanguage();
  setMode(mode);
  if (!hasToken()) return signIn();
  if (!location.hash.startsWith("#/models/")) fleet.prefetch();
  try {
    signedIn(await get("api/session"));
  } catch (error) {
    if (error.status !== 401) {
      setMode("lost");
      setText($("problem"), whyNot(error));
      timer = setTimeout(begin, EVERY_MS);
      return;
    }
    forgetToken();
    signIn(whyNot(error));
  }
}

function setMode(now) {
  mode = now;
  $("live").dataset.mode = now === "polling" ? "live" : now;
  setText($("live-text"), t(now));
}

$("refresh").addEventListener("click", async () => {
  await askSoon();
  setText($("announcer"), t("refreshed"));
});
$("sign-out").addEventListener("click", () => {
  forgetToken();
  signIn();
});
onLanguage(() => {
  setMode(mode);
  fleet.clear();
  if (session === null) signIn();
  else signedIn(session);
});
$("fleet").addEventListener("scope", askSoon);
$("fleet").addEventListener("savings", () => fleet.loadSavings().catch((error) => setText($("problem"), whyNot(error))));
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#key=")) location.reload();
  else if (location.hash !== "#main") route();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : askSoon()));
setInterval(() => {
  if (document.hidden || session === null) return;
  (model ?? fleet).tick();
}, 1000);

begin();
