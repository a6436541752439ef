// The last transitions of one model, newest first: what, why, how long, what it gave back.

import { el } from "./dom.js";
import { bytes, clock, duration } from "./format.js";
import { t } from "./i18n.js";
import { outcome, tier, trigger } from "./words.js";

export function historyItems(recent, device) {
  if (recent.length === 0) return [el("li", { class: "soft" }, t("historyEmpty"))];
  return recent.map((ended) => {
    const figures = [trigger(ended.trigger), t("historyTook", { time: duration(ended.seconds) })];
    if (ended.releasedBytes > 0) figures.push(t("historyReleased", { bytes: bytes(ended.releasedBytes) }));
    const move = t("historyMove", { from: tier(ended.from, device), to: tier(ended.to, device) });
    return el(
      "li",
      { "data-outcome": ended.outcome },
      el("div", { class: "move" }, el("strong", {}, move), el("time", {}, clock(ended.time))),
      el("div", { class: "soft" }, el("span", { class: "outcome" }, outcome(ended.outcome)), ` · ${figures.join(" · ")}`),
      // As the server said it, in its language.
      ended.reason === "" ? null : el("div", { class: "reason soft", lang: "en", dir: "auto" }, ended.reason),
    );
  });
}
