// Why something was not done. What the API server said is shown as it said it, after a sentence in the reader's language.

import { t } from "./i18n.js";

const KNOWN = new Set([0, 401, 403, 404, 409, 422, 502, 503]);

export function whyNot(error) {
  const said = error.problem?.detail ?? "";
  const sentence = t(KNOWN.has(error.status) ? `refused${error.status}` : "refusedOther", { status: error.status });
  return said === "" ? sentence : `${sentence} ${said}`;
}
