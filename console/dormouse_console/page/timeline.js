// Where each replica was over time, a strip each: colour, and in words how much of the time it was where.

import { el, svg } from "./dom.js";
import { number } from "./format.js";
import { currentLanguage, t } from "./i18n.js";
import { axisTime } from "./ranges.js";
import { tier } from "./words.js";

const STRIP = 22;
const TIERS = ["GPU", "CPU", "Unloaded"];

/** answer: of /replicas. Returns nodes. */
export function timeline(answer, width) {
  const span = answer.end - answer.start;
  const x = (at) => ((at - answer.start) / span) * width;
  const strips = answer.timeline.map(({ pod, model, runs }) => {
    const bars = runs.map(([from, to, residency]) =>
      svg("rect", { x: x(from), width: Math.max(1, x(to) - x(from)), y: 0, height: STRIP, class: `tier-${residency}` }),
    );
    const said = shares(runs);
    return el(
      "div",
      { class: "strip", "data-pod": pod },
      el("p", { class: "small" }, el("strong", {}, pod), model === null ? "" : ` · ${model}`, el("span", { class: "soft" }, ` · ${said}`)),
      svg("svg", { width, height: STRIP, role: "img", "aria-label": `${pod} ${model}: ${said}` }, ...bars),
    );
  });
  const axis = [answer.start, (answer.start + answer.end) / 2, answer.end].map((at) =>
    el("span", {}, axisTime(at, span, currentLanguage())),
  );
  const keys = TIERS.map((name) => el("li", {}, el("span", { class: `key tier-${name}`, "aria-hidden": "true" }), tier(name)));
  return [el("ul", { class: "keys" }, ...keys), ...strips, el("div", { class: "axis soft small", "aria-hidden": "true" }, ...axis)];
}

function shares(runs) {
  const spent = new Map(TIERS.map((name) => [name, 0]));
  for (const [from, to, residency] of runs) spent.set(residency, (spent.get(residency) ?? 0) + to - from);
  const total = [...spent.values()].reduce((sum, seconds) => sum + seconds, 0);
  if (total === 0) return runs.length > 0 ? tier(runs.at(-1)[2]) : t("noFigures");
  return [...spent]
    .filter(([, seconds]) => seconds > 0)
    .map(([name, seconds]) => `${tier(name)} ${number(seconds / total, { style: "percent", maximumFractionDigits: 0 })}`)
    .join(", ");
}
