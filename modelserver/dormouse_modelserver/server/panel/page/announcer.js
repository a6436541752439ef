// Says what changed to who can't see it: a model set out, arrived, or did not move. Nothing else, and nothing that
// counts seconds: a page that talks all the time is turned off.

import { t } from "./i18n.js";
import { notMoved, tier, whereabouts } from "./words.js";

const region = document.getElementById("announcer");

export function announce(text) {
  region.textContent = text;
}

export function announceChanges(before, after) {
  if (before === null) return;
  const sentences = [];
  for (const model of after.models) {
    const earlier = before.models.find((one) => one.name === model.name);
    if (earlier !== undefined) sentences.push(...changesOf(earlier, model, after.device));
  }
  if (sentences.length > 0) announce(sentences.join(" "));
}

function changesOf(before, after, device) {
  const [name, move] = [after.name, after.transition];
  if (before.residency !== after.residency) {
    return [t("announceArrived", { model: name, state: whereabouts(after.residency, device) })];
  }
  const ended = after.recent[0];
  if (ended !== undefined && notMoved(ended.outcome) && ended.time !== before.recent[0]?.time) {
    const [from, to] = [tier(ended.from, device), tier(ended.to, device)];
    return [t("announceNotMoved", { model: name, from, to, reason: ended.reason })];
  }
  if (move !== null && before.transition === null) {
    return [t("announceMoving", { model: name, from: tier(move.from, device), to: tier(move.to, device) })];
  }
  return [];
}
