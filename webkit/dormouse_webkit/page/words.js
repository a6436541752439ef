// The names of what travels: tiers, triggers, outcomes, modes. A server may be newer than the page that somebody has open,
// so a word that the page does not know is shown as it came. A simulated device is called simulated wherever it is named.

import { t, word } from "./i18n.js";

const SIGNS = { GPU: "🟢", CPU: "🟡", Unloaded: "⚪", Mixed: "🔀", Unknown: "❔" };
// Nothing was moved, or what was moved is back.
const NOT_MOVED = new Set(["failed", "refused"]);

/** The tiers that the page knows, from the GPU down, and what several replicas can be together. */
export const RESIDENCIES = Object.keys(SIGNS);

export function sign(residency) {
  return Object.hasOwn(SIGNS, residency ?? "") ? SIGNS[residency] : SIGNS.Unknown;
}

/** device: null where it can be any, or several. */
export function gpu(device = null) {
  return t(device?.simulated ? "gpuSimulated" : "gpu");
}

/** Short, as in "GPU → CPU". */
export function tier(residency, device) {
  return word("tier", residency, { gpu: gpu(device) });
}

/** Long, as in "In host RAM". */
export function whereabouts(residency, device) {
  return word("state", residency, { gpu: gpu(device) });
}

export function trigger(name) {
  return word("trigger", name);
}

export function outcome(name) {
  return word("outcome", name);
}

export function notMoved(outcome) {
  return NOT_MOVED.has(outcome);
}

export function mode(name) {
  return word("mode", name);
}
