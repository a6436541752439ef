// Why something was not done, in the reader's language: from the machine's reason and figures of the problem+json.
// What has no sentence of its own is shown as the server said it.

import { bytes } from "./format.js";
import { t } from "./i18n.js";

/** device: of the state, where what was asked for needs it. */
export function whyNot({ status, problem }, device) {
  if (status === 0) return t("refusedNoAnswer");
  switch (problem?.reason) {
    case "InUse":
      if (!problem.inFlight && !problem.waiting) return t("refusedWaking");
      return t("refusedInUse", { inFlight: problem.inFlight, waiting: problem.waiting });
    case "Dirty":
      return t("refusedDirty");
    case "NotAuthorised":
      if (status === 401) return t("refusedToken");
      break;
    case "CannotNow":
      if (device?.broken) return t("refusedBroken");
      if (problem.needBytes === undefined) break;
      return t("refusedNoRoom", { need: bytes(problem.needBytes), room: bytes(problem.roomBytes) });
  }
  return t("refusedOther", { detail: problem?.detail ?? `HTTP ${status}` });
}
