// The buttons. Each changes the ManagedModel as who presses it: the API server decides, and its sentence is shown.

import { change } from "./api.js";
import { el, emoji, setText } from "./dom.js";
import { t } from "./i18n.js";
import { whyNot } from "./refusals.js";

const PLAIN = [
  ["wake", "⚡"],
  ["offload", "💾"],
  ["unload", "🗑️"],
  ["auto", "↩️"],
  ["pause", "⏸️"],
  ["resume", "▶️"],
];
const PIN_HOURS = 2;

export class Actions {
  #namespace;
  #name;
  #changed;
  #buttons = new Map();
  #note = el("p", { class: "note", role: "status" });
  #may = el("p", { class: "soft" });
  #until = el("input", { id: "pin-until", type: "datetime-local", required: "" });

  /** changed(model): called with the ManagedModel after a change was taken. */
  constructor(region, namespace, name, changed) {
    [this.#namespace, this.#name, this.#changed] = [namespace, name, changed];
    for (const [name, sign] of PLAIN) this.#add(name, sign, () => this.#send(name));
    const form = el("form", { class: "pin" }, el("label", { for: "pin-until" }, t("pinUntil")), this.#until);
    const pin = el("button", { type: "submit", "data-action": "pin" }, emoji("📌"), ` ${t("pin")}`);
    this.#buttons.set("pin", pin);
    form.append(pin);
    this.#until.value = local(new Date(Date.now() + PIN_HOURS * 3600_000));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send("pin", new Date(this.#until.value).toISOString());
    });
    const buttons = PLAIN.map(([name]) => this.#buttons.get(name));
    region.replaceChildren(el("h3", {}, t("actionsHeading")), el("div", { class: "actions" }, ...buttons), form, this.#may, this.#note);
  }

  update(model) {
    const overridden = model.override !== "Auto";
    for (const [name, button] of this.#buttons) {
      // Not `disabled`: it can still be reached and read, and says why when it is pressed.
      button.setAttribute("aria-disabled", String(!model.mayChange));
      if (name === "auto") button.hidden = !overridden;
      if (name === "pause") button.hidden = model.mode === "Paused";
      if (name === "resume") button.hidden = model.mode === "Active";
    }
    setText(this.#may, model.mayChange ? t("actionsHint") : t("mayNotChange"));
  }

  #add(name, sign, pressed) {
    const button = el("button", { type: "button", "data-action": name }, emoji(sign), ` ${t(name)}`);
    button.addEventListener("click", pressed);
    this.#buttons.set(name, button);
  }

  async #send(name, until) {
    this.#say("", t("sending"));
    try {
      const answer = await change(this.#namespace, this.#name, until === undefined ? { change: name } : { change: name, until });
      const because = answer.noEffectBecause === "" ? "" : ` ${t(answer.mode === "Paused" ? "noEffectPaused" : "noEffectObserve")}`;
      this.#say(because === "" ? "good" : "problem", t(`done_${name}`) + because);
      this.#changed(answer);
    } catch (error) {
      this.#say("problem", whyNot(error));
    }
  }

  #say(kind, text) {
    this.#note.dataset.kind = kind;
    setText(this.#note, text);
  }
}

/** As the input wants it: local time to the minute. */
function local(date) {
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
