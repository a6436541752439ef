// Advice on one model's idle timeout: the suggestion by its rate of use, and what each timeout would have done over the
// uses that were really seen. Asked for when somebody opens it: it changes with every second, and few look.

import { get } from "./api.js";
import { el, setText } from "./dom.js";
import { duration, gibHours, number, wholeSeconds } from "./format.js";
import { t } from "./i18n.js";

export class Advice {
  #model;
  #heading = el("summary");
  #content = el("div", { class: "advice" });

  constructor(model) {
    this.#model = model;
    this.element = el("details", { "data-field": "advice" }, this.#heading, this.#content);
    this.element.addEventListener("toggle", () => this.ask());
  }

  showHeading() {
    setText(this.#heading, t("adviceHeading"));
  }

  async ask() {
    if (!this.element.open) return;
    try {
      const { advice } = await get("v1/models");
      this.#content.replaceChildren(...content(advice?.[this.#model] ?? null));
    } catch {
      this.#content.replaceChildren(el("p", { class: "soft" }, t("lost")));
    }
  }
}

function content(advice) {
  if (advice === null || advice.suggested === null) return [el("p", { class: "soft" }, t("adviceNone"))];
  const suggestion = t("adviceSuggested", {
    timeout: timeout(advice.suggested.idleTimeoutSeconds),
    rate: number(advice.arrivalsPerMinute, { maximumSignificantDigits: 2 }),
    time: wholeSeconds(advice.observedSeconds),
  });
  const head = ["adviceTimeout", "adviceSaved", "adviceWaits", "adviceWaited"];
  return [
    el("p", {}, suggestion),
    el(
      "table",
      {},
      el("caption", {}, t("adviceReplayed")),
      el("thead", {}, el("tr", {}, ...head.map((key) => el("th", { scope: "col" }, t(key))))),
      el("tbody", {}, ...advice.replayed.map(row)),
    ),
  ];
}

function row(replayed) {
  const { gpuMemorySavedByteSeconds: saved, waitedSeconds: waited } = replayed;
  const marks = [replayed.current ? t("adviceCurrent") : null, replayed.suggested ? t("adviceThis") : null];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, timeout(replayed.idleTimeoutSeconds), ...marks.filter(Boolean).flatMap(badge)),
    el("td", {}, saved === null ? t("unmeasured") : gibHours(saved)),
    el("td", {}, number(replayed.waits)),
    el("td", {}, waited === null ? t("unmeasured") : duration(waited)),
  );
}

function timeout(seconds) {
  return seconds === null ? t("never") : seconds === 0 ? t("atTaskEnd") : wholeSeconds(seconds);
}

function badge(text) {
  return [" ", el("span", { class: "badge" }, text)];
}
