// The uses of one model that last: since when, from which thread and where. A person who knows that one was forgotten
// may end it, and is told first what that risks.

import { askForToken, lacksToken, readOnly } from "./access.js";
import { endUse } from "./api.js";
import { el, setText, show } from "./dom.js";
import { wholeSeconds } from "./format.js";
import { currentLanguage, t } from "./i18n.js";
import { whyNot } from "./refusals.js";

export class LongUses {
  #model;
  #say;
  #shown = "";
  #ages = new Map();
  #heading = el("h4");
  #list = el("ul", { class: "uses" });

  /** say(text, kind): where the card says what came of a press. */
  constructor(model, say) {
    this.#model = model;
    this.#say = say;
    this.element = el("section", { class: "long-uses", "data-field": "uses" }, this.#heading, this.#list);
  }

  update(uses, state, now) {
    show(this.element, uses.length > 0);
    const shown = JSON.stringify([currentLanguage(), state.access, uses]);
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#ages.clear();
      setText(this.#heading, t("usesHeading"));
      this.#list.replaceChildren(...uses.map((use) => this.#item(use, state)));
    }
    this.tick(uses, now);
  }

  tick(uses, now) {
    for (const use of uses) setText(this.#ages.get(use.number), t("useSince", { time: wholeSeconds(now - use.since) }));
  }

  #item(use, state) {
    const age = el("strong");
    this.#ages.set(use.number, age);
    const where = el("code", { dir: "ltr" }, use.where);
    const thread = el("span", { class: "soft" }, t("useThread", { thread: use.thread }));
    const running = el("span", { class: "soft" }, t(use.running ? "useRuns" : "useRests"));
    const item = el("li", { "data-use": String(use.number) }, el("div", {}, age, " · ", thread, " · ", running), where);
    if (!readOnly(state.access)) {
      const button = el("button", { type: "button", "data-action": "end-use" }, t("useEnd"));
      button.addEventListener("click", () => this.#end(use, state));
      item.append(button);
    }
    return item;
  }

  async #end(use, state) {
    if (lacksToken(state.access)) {
      this.#say(t("needsToken"), "problem");
      askForToken();
      return;
    }
    if (!confirm(`${t(use.running ? "useEndRunning" : "useEndResting")}\n\n${t("useEndRisk")}`)) return;
    const answer = await endUse(this.#model, use.number);
    if (!answer.ok) this.#say(whyNot(answer, state.device), "problem");
    else this.#say(t("useEnded"));
  }
}
