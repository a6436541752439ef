// Ages, quantities and moments as this page needs them.

import { wholeSeconds } from "./format.js";
import { t } from "./i18n.js";

/** Two units of a time that passed; days where hours would be many. */
export function age(seconds) {
  const days = Math.floor(seconds / 86400);
  if (days >= 1) {
    const hours = Math.floor((seconds % 86400) / 3600);
    return hours > 0 && days < 10 ? `${t("days", { n: days })} ${t("hours", { n: hours })}` : t("days", { n: days });
  }
  return wholeSeconds(seconds);
}

const POWERS = { "": 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 };

/** Bytes from a quantity as the operator writes it (13.8Gi); null for none. */
export function fromQuantity(text) {
  const found = /^([\d.]+)([KMGTPE]i)?$/.exec(text ?? "");
  return found === null ? null : Number(found[1]) * POWERS[found[2] ?? ""];
}

/** A moment as date and time of the reader's own zone. */
export function moment(unixSeconds, language) {
  const parts = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(language, parts).format(new Date(unixSeconds * 1000));
}
