// Wires the page up: what the feed brings goes to the parts, and once a second what counts seconds is counted on.

import { showAccess } from "./access.js";
import { announce, announceChanges } from "./announcer.js";
import { ModelCard } from "./card.js";
import { Chart } from "./chart.js";
import { setText, show } from "./dom.js";
import { Feed } from "./feed.js";
import { currentLanguage, t, word } from "./i18n.js";
import { onLanguage, showLanguage } from "./languages.js";
import { showMemory } from "./memory.js";
import { showTiles } from "./tiles.js";

const $ = (id) => document.getElementById(id);
const cards = new Map();
const chart = new Chart($("chart"));

let state = null;
let receivedAt = 0;
let mode = "connecting";

/** The server's clock: its last word, and what has passed here since. A wrong clock on this side does no harm. */
function now() {
  return state.now + (performance.now() - receivedAt) / 1000;
}

function receive(fresh) {
  const sameServer = state !== null && fresh.startedAt === state.startedAt;
  // An answer to a question may come later than a newer event.
  if (sameServer && fresh.now < state.now) return;
  announceChanges(sameServer ? state : null, fresh);
  [state, receivedAt] = [fresh, performance.now()];
  showState();
}

function showState() {
  const { device } = state;
  setText($("device"), device.simulated ? t("deviceSimulated", { name: device.name }) : device.name);
  setText($("version"), t("version", { version: state.version }));
  document.title = `${device.simulated ? t("deviceSimulated", { name: device.name }) : device.name} · Dormouse`;
  setText($("broken"), device.broken === null ? "" : t("deviceBroken", { cause: device.broken }));
  show($("broken"), device.broken !== null);
  show($("chart"), device.broken === null);
  showAccess(state.access, currentLanguage(), showState);
  showMemory(device);
  showTiles(state, now());
  for (const model of state.models) {
    if (!cards.has(model.name)) {
      cards.set(model.name, new ModelCard(model.name));
      $("cards").append(cards.get(model.name).element);
    }
    cards.get(model.name).update(model, state, now());
  }
  for (const [name, card] of cards) {
    // A server that was started anew may have other models.
    if (!state.models.some((model) => model.name === name)) {
      card.element.remove();
      cards.delete(name);
    }
  }
  show($("no-models"), state.models.length === 0);
  showMode();
}

function showMode() {
  $("live").dataset.mode = mode;
  const reason = mode === "live" || mode === "polling" ? (state?.notReadyBecause ?? null) : null;
  setText($("live-text"), reason === null ? t(mode) : word("notReady", reason));
}

function showAnew() {
  showMode();
  chart.draw();
  if (state !== null) showState();
}

const feed = new Feed({
  state: receive,
  history: (history) => chart.load(history),
  sample: (sample) => chart.add(sample),
  mode: (changed) => {
    mode = changed;
    showMode();
  },
});

$("refresh").addEventListener("click", async () => announce(t((await feed.refresh()) ? "refreshed" : "lost")));
onLanguage(showAnew);
setInterval(() => {
  if (state === null || document.hidden) return;
  showTiles(state, now());
  for (const card of cards.values()) card.tick(now());
}, 1000);

showLanguage();
showAnew();
feed.start();
