// What a policy asks for, in sentences.

import { number } from "./format.js";
import { currentLanguage, t } from "./i18n.js";
import { age, moment } from "./quantities.js";
import { tier, whereabouts } from "./words.js";

export function policySentences(model) {
  const policy = model.policy;
  const said = [];
  const [offload, unload] = [policy.offloadAfterSeconds, policy.unloadAfterSeconds];
  if (offload === undefined && unload === undefined) said.push(t("policyNever"));
  if (offload === 0) said.push(t("policyAtOnce"));
  else if (offload !== undefined) said.push(t("policyOffload", { time: age(offload) }));
  if (unload !== undefined) said.push(t("policyUnload", { time: age(unload) }));
  if (offload !== 0 && (offload ?? unload) !== undefined) {
    said.push(t("policyResident", { time: age(policy.minResidentSeconds) }));
  }
  said.push(t("policyBudget", { n: number(policy.wakeBudgetSeconds) }));
  for (const window of policy.schedule ?? []) {
    const values = { residency: tier(window.residency), cron: window.cron, zone: window.timeZone, time: age(window.durationSeconds) };
    said.push(t("policyWindow", values));
  }
  return said;
}

/** Who overrides the policy at the moment; empty for nobody. */
export function override(model, now) {
  if (model.override === "Auto" || (model.overrideUntil !== null && model.overrideUntil <= now)) return "";
  const residency = whereabouts(model.override);
  if (model.overrideUntil === null) return t("heldForEver", { residency });
  return t("heldUntil", { residency, time: moment(model.overrideUntil, currentLanguage()) });
}
