// Where the device's memory is: one bar of measured parts, and the processes that the driver names.

import { el, setText } from "./dom.js";
import { bytes } from "./format.js";
import { t } from "./i18n.js";

const heading = document.getElementById("memory-heading");
const region = document.getElementById("memory");

export function showMemory(device) {
  setText(heading, t(device.simulated ? "memoryHeadingSimulated" : "memoryHeading"));
  if (device.broken !== null) {
    region.replaceChildren(el("p", { class: "soft" }, t("memoryUnmeasured")));
    return;
  }
  region.replaceChildren(
    el("p", { class: "used" }, t("memoryUsed", { used: bytes(device.usedBytes), total: bytes(device.totalBytes) })),
    bar(parts(device), device.totalBytes),
    legend(parts(device)),
    ...(device.processBytes === null ? [el("p", { class: "soft" }, t("processUnseen"))] : []),
    holders(device),
  );
}

function parts(device) {
  const free = { name: "free", label: t("partFree"), bytes: Math.max(0, device.totalBytes - device.usedBytes) };
  const weights = { name: "weights", label: t("partWeights"), bytes: device.weightsBytes };
  if (device.processBytes === null) {
    const unknown = Math.max(0, device.usedBytes - device.weightsBytes);
    return [weights, { name: "others", label: t("partUnknown"), bytes: unknown }, free];
  }
  const rest = t(device.simulated ? "partRestSimulated" : "partRest");
  const others = Math.max(0, device.usedBytes - device.processBytes);
  return [
    weights,
    { name: "rest", label: rest, bytes: device.restBytes },
    { name: "others", label: t("partOthers"), bytes: others },
    free,
  ];
}

/** Drawn only: the legend says the same in words. */
function bar(all, total) {
  const segments = all.map((part) => {
    const segment = el("span", { class: `segment ${part.name}` });
    segment.style.flexGrow = String(total > 0 ? part.bytes / total : 0);
    return segment;
  });
  return el("div", { class: "stack", "aria-hidden": "true" }, ...segments);
}

function legend(all) {
  const entries = all.map((part) =>
    el(
      "div",
      { "data-part": part.name },
      el("dt", {}, el("span", { class: `swatch ${part.name}`, "aria-hidden": "true" }), part.label),
      el("dd", {}, bytes(part.bytes)),
    ),
  );
  return el("dl", { class: "legend" }, ...entries);
}

function holders(device) {
  if (device.holders === null) return el("p", { class: "soft" }, t("holdersUnknown"));
  if (device.holders.length === 0) return el("p", { class: "soft" }, t("holderNobody"));
  const head = [t("holderProcess"), t("holderPid"), t("holderMemory")].map((text) => el("th", { scope: "col" }, text));
  const rows = device.holders.map((holder) =>
    el(
      "tr",
      {},
      el("td", {}, holder.name ?? t("holderUnnamed"), ...(holder.thisProcess ? [" ", badge()] : [])),
      el("td", {}, String(holder.pid)),
      el("td", {}, holder.bytes === null ? t("notTold") : bytes(holder.bytes)),
    ),
  );
  return el(
    "table",
    { class: "holders" },
    el("caption", {}, t("holdersCaption")),
    el("thead", {}, el("tr", {}, ...head)),
    el("tbody", {}, ...rows),
  );
}

function badge() {
  return el("span", { class: "badge" }, t("holderThis"));
}
