// The names of things: a simulated device is called simulated wherever it is named.

import { t } from "./i18n.js";

export const SIGNS = { GPU: "🟢", CPU: "🟡", Unloaded: "⚪" };

export function gpu(device) {
  return t(device.simulated ? "gpuSimulated" : "gpu");
}

/** Short, as in "GPU → CPU". */
export function tier(residency, device) {
  return t(`tier${residency}`, { gpu: gpu(device) });
}

/** Long, as in "In host RAM". */
export function whereabouts(residency, device) {
  return t(`state${residency}`, { gpu: gpu(device) });
}

export function trigger(name) {
  return t(`trigger${name}`);
}
