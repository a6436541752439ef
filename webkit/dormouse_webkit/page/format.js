// Figures as people read them, in the page's language. Binary units, because that is how drivers count.

import { currentLanguage, t } from "./i18n.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  const power = count < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 2 ** (10 * power);
  const digits = power === 0 || value >= 100 ? 0 : 1;
  return `${number(value, { maximumFractionDigits: digits })} ${UNITS[power]}`;
}

/** The two largest units, whole seconds; short times with as many digits as tell something. */
export function duration(seconds) {
  if (seconds < 0.0005) return t("seconds", { n: 0 });
  if (seconds < 10) return t("seconds", { n: number(seconds, { maximumSignificantDigits: 2 }) });
  return wholeSeconds(seconds);
}

/** For what is counted on a clock that ticks once a second. */
export function wholeSeconds(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (h > 0) return join(t("hours", { n: number(h) }), min > 0 ? t("minutes", { n: min }) : "");
  if (min > 0) return join(t("minutes", { n: min }), s > 0 ? t("seconds", { n: s }) : "");
  return t("seconds", { n: s });
}

/** Memory saved over time, bytes × seconds, in GiB·h. Below a hundredth no digits: they would only flicker. */
export function gibHours(byteSeconds) {
  const value = byteSeconds / 2 ** 30 / 3600;
  if (value > 0 && value < 0.01) return t("below", { value: number(0.01) });
  return number(value, { maximumFractionDigits: value < 100 ? 2 : 0 });
}

export function clock(unixSeconds) {
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(currentLanguage(), parts).format(new Date(unixSeconds * 1000));
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(currentLanguage(), options).format(value);
}

function join(...parts) {
  return parts.filter((part) => part !== "").join(" ");
}
