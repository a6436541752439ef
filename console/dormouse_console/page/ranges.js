// The choice of how far back a chart goes.

import { el } from "./dom.js";
import { t } from "./i18n.js";

const RANGES = ["15m", "1h", "6h", "24h", "7d", "30d"];

/** changed(range) when another was chosen. */
export function rangeSwitch(chosen, changed) {
  const buttons = RANGES.map((range) => {
    const button = el("button", { type: "button", "data-range": range, "aria-pressed": String(range === chosen) });
    button.append(t(`range${range}`));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      changed(range);
    });
    return button;
  });
  return el("div", { class: "switch ranges", role: "group", "aria-label": t("rangeLabel") }, ...buttons);
}

/** A moment on an axis: the clock, and for long ranges the day. */
export function axisTime(unixSeconds, span, language) {
  const parts = span > 2 * 86400 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(language, parts).format(new Date(unixSeconds * 1000));
}
