// What time alone will bring to a model, in words and as a part of the wait that is left (null: no countdown).

import { wholeSeconds } from "./format.js";
import { t } from "./i18n.js";
import { tier } from "./words.js";

export function whatComesNext(model, device, now) {
  const move = model.transition;
  if (move !== null) {
    const [from, to] = [tier(move.from, device), tier(move.to, device)];
    return { text: t("moving", { from, to, elapsed: wholeSeconds(now - move.startedAt) }), left: null };
  }
  if (device.broken !== null) return { text: t("nextBroken"), left: null };
  if (model.inFlight > 0) return { text: t("nextInUse"), left: 1 };
  if (model.pinned) return { text: t(model.pinnedByHand ? "nextPinned" : "nextPinnedOperator"), left: null };
  const next = model.nextMove;
  if (next !== null) {
    const [to, left] = [tier(next.to, device), next.at - now];
    if (left <= 0) return { text: t("nextDue", { to }), left: 0 };
    return { text: t("nextIn", { to, left: wholeSeconds(Math.ceil(left)) }), left: left / (next.at - next.since) };
  }
  return { text: t(whyItStays(model)), left: null };
}

function whyItStays(model) {
  if (model.residency === "Unloaded") return "nextAsleep";
  if (model.lentUntil !== null) return "nextOperator";
  if (model.dirty && model.unloadAfterSeconds !== null) return "nextDirty";
  return "nextNever";
}
