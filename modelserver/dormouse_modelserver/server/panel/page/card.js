// One model: its state, its figures and what can be done with it. Made once and written to afterwards, so that focus,
// an open list and a selection stay where they are while figures change.

import { Advice } from "./advice.js";
import { askForToken, lacksToken, readOnly } from "./access.js";
import { orderPin, orderResidency } from "./api.js";
import { announce } from "./announcer.js";
import { el, emoji, setText, show } from "./dom.js";
import { bytes, clock, duration, gibHours, number, wholeSeconds } from "./format.js";
import { historyItems } from "./history.js";
import { currentLanguage, t } from "./i18n.js";
import { whatComesNext } from "./next.js";
import { whyNot } from "./refusals.js";
import { savedBy } from "./tiles.js";
import { LongUses } from "./uses.js";
import { notMoved, sign, tier, whereabouts } from "./words.js";

const ACTIONS = [
  { name: "wake", sign: "⚡", desired: "GPU" },
  { name: "offload", sign: "💾", desired: "CPU" },
  { name: "unload", sign: "🗑️", desired: "Unloaded" },
  { name: "pin", sign: "📌", desired: null },
];
const FACTS = ["gpu", "host", "inFlight", "waiting", "restore", "saved"];

export class ModelCard {
  #model = null;
  #state = null;
  #historyOf = "";
  #badgesOf = "";
  #sign = emoji("");
  #where = el("span", { "data-field": "where" });
  #badges = el("p", { class: "badges" });
  #changed = el("p", { class: "soft small", "data-field": "changed" });
  #apartOf = "";
  #apartHeading = el("summary");
  #apartList = el("ul", { class: "small" });
  #apart = el("details", { "data-field": "apart" }, this.#apartHeading, this.#apartList);
  #next = el("span", { "data-field": "next" });
  #idle = el("span", { class: "soft", "data-field": "idle" });
  #left = el("span", { class: "left" });
  #countdown = el("div", { class: "countdown", "aria-hidden": "true" }, this.#left);
  #timeouts = el("p", { class: "soft small" });
  #facts = {};
  #buttons = {};
  #actions = el("div", { class: "actions", role: "group" });
  #note = el("p", { class: "note", "data-field": "note" });
  #historyHeading = el("summary");
  #history = el("ol", { class: "history" });
  #advice;
  #uses;

  constructor(name) {
    const facts = FACTS.map((fact) => {
      const [label, value] = [el("dt"), el("dd", { "data-fact": fact })];
      this.#facts[fact] = { label, value };
      return el("div", {}, label, value);
    });
    for (const action of ACTIONS) this.#actions.append(this.#button(action, name));
    this.#advice = new Advice(name);
    this.#uses = new LongUses(name, (text, kind) => this.#say(text, kind));
    const heading = el("h3", { id: `model-${name}` }, name);
    this.element = el(
      "article",
      { class: "card model", "data-model": name, "aria-labelledby": `model-${name}` },
      el("div", { class: "card-head" }, heading, el("p", { class: "state" }, this.#sign, " ", this.#where)),
      this.#badges,
      this.#changed,
      el("div", { class: "next" }, this.#next, this.#idle),
      this.#countdown,
      this.#timeouts,
      el("dl", { class: "facts" }, ...facts),
      this.#actions,
      this.#note,
      this.#apart,
      this.#uses.element,
      el("details", { "data-field": "history" }, this.#historyHeading, this.#history),
      this.#advice.element,
    );
  }

  update(model, state, now) {
    const [device, moving] = [state.device, model.transition !== null];
    this.#sayWhatCameOfIt(model, device);
    [this.#model, this.#state] = [model, state];
    this.element.dataset.residency = model.residency;
    this.element.dataset.moving = String(moving);
    this.element.setAttribute("aria-busy", String(moving));
    setText(this.#sign, sign(model.residency));
    setText(this.#where, whereabouts(model.residency, device));
    this.#showBadges(model);
    this.#showApart(model);
    const after = (seconds) => (seconds === null ? t("never") : seconds === 0 ? t("atTaskEnd") : wholeSeconds(seconds));
    const [offload, unload] = [after(model.offloadAfterSeconds), after(model.unloadAfterSeconds)];
    setText(this.#timeouts, t("timeouts", { offload, unload }));
    this.#fact("gpu", t(device.simulated ? "factGpuSimulated" : "factGpu"), bytes(model.gpuMemoryBytes));
    this.#fact("host", t("factHost"), bytes(model.hostMemoryBytes));
    this.#fact("inFlight", t("factInFlight"), number(model.inFlight));
    this.#fact("waiting", t("factWaiting"), number(model.waiting));
    this.#fact("restore", t("factRestore"), restoreTime(model));
    this.#showButtons(model, state);
    this.#showHistory(model, device);
    this.#uses.update(model.longUses, state, now);
    this.tick(now);
  }

  /** An answer that was "on its way" ends here; one that said why already is left as it is. */
  #sayWhatCameOfIt(model, device) {
    const [before, ended] = [this.#model, model.recent[0]];
    if (before === null || ended === undefined || ended.time === before.recent[0]?.time) return;
    if (!notMoved(ended.outcome)) {
      this.#note.dataset.kind = "";
      setText(this.#note, "");
    } else if (this.#note.dataset.kind !== "problem") {
      const [from, to] = [tier(ended.from, device), tier(ended.to, device)];
      this.#note.dataset.kind = "problem";
      setText(this.#note, t("announceNotMoved", { model: model.name, from, to, reason: ended.reason }));
    }
  }

  /** What changes by the second. */
  tick(now) {
    const [model, state] = [this.#model, this.#state];
    const next = whatComesNext(model, state.device, now);
    setText(this.#next, next.text);
    setText(this.#idle, model.inFlight > 0 ? "" : t("idleFor", { time: wholeSeconds(now - model.idleSince) }));
    this.#countdown.dataset.running = String(next.left !== null);
    this.#left.style.transform = `scaleX(${next.left ?? 0})`;
    this.#fact("saved", t("factSaved"), gibHours(savedBy(model, state, now)));
    this.#uses.tick(model.longUses, now);
  }

  #fact(name, label, value) {
    setText(this.#facts[name].label, label);
    setText(this.#facts[name].value, value);
  }

  #button(action, model) {
    const label = el("span");
    // The model's name makes the button's name one of its own; seen, the card says it.
    const button = el("button", { type: "button", "data-action": action.name }, emoji(action.sign), " ", label);
    button.append(el("span", { class: "unseen" }, `: ${model}`));
    button.addEventListener("click", () => this.#press(action));
    this.#buttons[action.name] = { button, label };
    return button;
  }

  #showButtons(model, state) {
    show(this.#actions, !readOnly(state.access));
    this.#actions.setAttribute("aria-label", t("actionsOf", { model: model.name }));
    for (const { name, desired } of ACTIONS) {
      const { button, label } = this.#buttons[name];
      setText(label, t(name === "pin" && model.pinnedByHand ? "unpin" : name));
      // aria-disabled and not disabled: whoever just pressed it keeps the focus.
      const there = desired !== null && model.residency === desired && model.transition === null;
      button.setAttribute("aria-disabled", String(there));
      if (name === "pin") button.setAttribute("aria-pressed", String(model.pinnedByHand));
    }
  }

  async #press({ name, desired }) {
    const { button, label } = this.#buttons[name];
    const model = this.#model;
    if (lacksToken(this.#state.access)) {
      this.#say(t("needsToken"), "problem");
      askForToken();
      return;
    }
    if (button.getAttribute("aria-disabled") === "true") {
      this.#say(t("alreadyThere", { model: model.name }));
      return;
    }
    const action = label.textContent;
    const answer = await (desired === null
      ? orderPin(model.name, !model.pinnedByHand)
      : orderResidency(model.name, desired));
    if (!answer.ok) this.#say(whyNot(answer, this.#state.device), "problem");
    else this.#say(t(answer.status === 202 ? "sent" : "done", { action }));
  }

  #say(text, kind = "") {
    this.#note.dataset.kind = kind;
    setText(this.#note, text);
    if (text !== "") announce(`${this.#model.name}: ${text}`);
  }

  #showBadges(model) {
    const badges = [];
    if (model.pinned) badges.push(["📌", t(model.pinnedByHand ? "badgePinned" : "badgePinnedOperator")]);
    if (model.dirty) badges.push(["✏️", t("badgeDirty")]);
    if (model.lentUntil !== null) badges.push(["🎛️", t("badgeLent", { time: clock(model.lentUntil) })]);
    show(this.#badges, badges.length > 0);
    const text = badges.map(([, words]) => words).join();
    if (this.#badgesOf === text) return;
    this.#badgesOf = text;
    this.#badges.replaceChildren(...badges.map(([sign, words]) => el("span", { class: "badge" }, emoji(sign), ` ${words}`)));
  }

  /** What differs from what was loaded, and what does not move with the rest: in the engine's own words. */
  #showApart({ changed, movedApart }) {
    show(this.#changed, changed !== "");
    setText(this.#changed, t("changedSinceLoad", { what: changed }));
    show(this.#apart, movedApart.length > 0);
    const shown = [currentLanguage(), ...movedApart].join();
    if (shown === this.#apartOf) return;
    this.#apartOf = shown;
    setText(this.#apartHeading, `${t("apartHeading")} (${number(movedApart.length)})`);
    this.#apartList.replaceChildren(...movedApart.map((line) => el("li", {}, line)));
  }

  #showHistory(model, device) {
    const shown = [currentLanguage(), model.recent.length, model.recent[0]?.time].join();
    if (shown === this.#historyOf) return;
    this.#historyOf = shown;
    this.#advice.showHeading();
    this.#advice.ask();
    setText(this.#historyHeading, `${t("historyHeading")} (${number(model.recent.length)})`);
    this.#history.replaceChildren(...historyItems(model.recent, device));
  }
}

function restoreTime(model) {
  if (model.residency === "GPU") return t("factRestoreAwake");
  return model.restoreEstimateSeconds === null ? t("factRestoreNone") : `≈ ${duration(model.restoreEstimateSeconds)}`;
}
