// One model: where it is and why, what comes next, its past, its replicas, and what may be done to it.

import { Actions } from "./actions.js";
import { get, modelPath } from "./api.js";
import { el, emoji, setText } from "./dom.js";
import { bytes, duration } from "./format.js";
import { currentLanguage, t } from "./i18n.js";
import { override, policySentences } from "./policy.js";
import { age, fromQuantity, moment } from "./quantities.js";
import { rangeSwitch } from "./ranges.js";
import { timeline } from "./timeline.js";
import { onWidth } from "./width.js";
import { mode, sign, tier, trigger, whereabouts } from "./words.js";

export class ModelPage {
  #range = "1h";
  #model = null;
  #replicas = null;
  #receivedAt = 0;
  #part = {};
  #actions;

  /** changed: called after somebody changed the model here. */
  constructor(region, namespace, name, changed) {
    [this.region, this.namespace, this.name] = [region, namespace, name];
    const part = (tag, id, attributes = {}) => (this.#part[id] = el(tag, { "data-part": id, ...attributes }));
    const section = (id, ...more) => el("section", { class: "card", "aria-label": t(id) }, el("h3", {}, t(id)), ...more);
    const actions = el("section", { class: "card" });
    const ranges = rangeSwitch(this.#range, (range) => {
      this.#range = range;
      this.loadReplicas();
    });
    region.replaceChildren(
      el("p", {}, el("a", { href: "#/" }, t("back"))),
      el(
        "section",
        { class: "card model", "data-residency": "Unknown" },
        el("div", { class: "card-head" }, el("h2", { tabindex: "-1" }, name), part("div", "badges", { class: "badges" })),
        part("p", "where", { class: "figure" }),
        part("p", "why"),
        part("p", "next", { class: "soft" }),
        part("p", "override", { class: "override" }),
        part("dl", "facts", { class: "facts" }),
      ),
      actions,
      section(
        "timelineHeading",
        ranges,
        part("div", "timeline"),
        part("p", "timelineProblem", { class: "soft" }),
      ),
      section("replicasHeading", part("div", "replicas"), part("p", "podsProblem", { class: "problem" })),
      section("conditionsHeading", part("ul", "conditions", { class: "plain" })),
      section("policyHeading", part("ul", "policy")),
      section("eventsHeading", part("ul", "events", { class: "plain events" }), part("p", "eventsProblem", { class: "problem" })),
    );
    this.#actions = new Actions(actions, namespace, name, (model) => {
      // Before the first answer there is nothing to add it to; the next comes at once.
      if (this.#model !== null) this.#received({ ...this.#model, ...model, now: this.#now() });
      changed();
    });
    onWidth(this.#part.timeline, () => this.#showTimeline());
    document.title = `${name} · Dormouse`;
  }

  async load() {
    this.#received(await get(modelPath(this.namespace, this.name)));
  }

  async loadReplicas() {
    this.#replicas = await get(`${modelPath(this.namespace, this.name)}/replicas`, { range: this.#range });
    this.#showReplicas();
    this.#showTimeline();
    this.#showNext();
  }

  tick() {
    if (this.#model === null) return;
    this.#showWhy();
    this.#showNext();
  }

  #now() {
    return (this.#model?.now ?? Date.now() / 1000) + (performance.now() - this.#receivedAt) / 1000;
  }

  #received(model) {
    this.#model = model;
    this.#receivedAt = performance.now();
    const part = this.#part;
    this.region.querySelector(".model").dataset.residency = model.residency;
    const sim = (this.#replicas?.replicas ?? []).some((replica) => replica.device.startsWith("sim"));
    part.badges.replaceChildren(
      badge(model.namespace),
      badge(mode(model.mode)),
      ...(sim ? [badge(t("simulated"))] : []),
      ...(model.upToDate ? [] : [badge(t("notSeenYet"))]),
    );
    part.where.replaceChildren(emoji(sign(model.residency)), ` ${whereabouts(model.residency)}`);
    setText(part.override, override(model, this.#now()));
    const facts = [
      ["factDesired", model.desired === null ? "–" : tier(model.desired)],
      ["factReplicas", t("onGpuOf", { gpu: model.gpu, total: model.total })],
      ["factReleased", model.released === null ? "–" : bytes(fromQuantity(model.released))],
    ];
    part.facts.replaceChildren(...facts.map(([key, value]) => el("div", { "data-fact": key }, el("dt", {}, t(key)), el("dd", {}, value))));
    this.#showConditions();
    part.policy.replaceChildren(...policySentences(model).map((sentence) => el("li", {}, sentence)));
    part.events.replaceChildren(...this.#events());
    setText(part.eventsProblem, model.eventsProblem);
    this.#actions.update(model);
    this.#showWhy();
    this.#showNext();
  }

  /** The last move and what the operator says of now, as it says it. */
  #showWhy() {
    const { lastTransition: moved, movedAt } = this.#model;
    const parts = [];
    if (moved) {
      const values = { from: tier(moved.from), to: tier(moved.to), why: trigger(moved.trigger), ago: age(Math.max(0, this.#now() - movedAt)) };
      parts.push(`${t("lastMove", values)} `, el("span", { class: "soft", lang: "en" }, moved.message ?? ""));
    } else {
      parts.push(t(this.#model.visited ? "neverMoved" : "notVisitedLong"));
    }
    const text = parts.map((part) => part.textContent ?? part).join("");
    if (this.#part.why.textContent !== text) this.#part.why.replaceChildren(...parts);
  }

  #showNext() {
    if (this.#replicas === null || this.#model === null) return;
    const now = this.#now();
    const replica = this.#replicas.replicas.find((one) => one.nextLookAt !== null) ?? this.#replicas.replicas[0];
    if (replica === undefined) return setText(this.#part.next, "");
    const when = replica.nextLookAt === null || replica.nextLookAt <= now ? "" : ` ${t("nextIn", { time: age(replica.nextLookAt - now) })}`;
    setText(this.#part.next, `${t("decision", { reason: replica.decision })}${when}`);
  }

  #showConditions() {
    const items = this.#model.conditions.map((condition) =>
      el(
        "li",
        { "data-condition": condition.type },
        el("strong", { "data-status": condition.status }, `${condition.type}: ${condition.status}`),
        ` · ${condition.reason} `,
        el("span", { class: "soft", lang: "en" }, condition.message),
      ),
    );
    this.#part.conditions.replaceChildren(...(items.length > 0 ? items : [el("li", { class: "soft" }, t("notVisitedLong"))]));
  }

  #events() {
    const { events, eventsProblem } = this.#model;
    if (events.length === 0 && eventsProblem === "") return [el("li", { class: "soft" }, t("noEvents"))];
    return events.map((event) =>
      el(
        "li",
        { "data-type": event.type },
        el("time", { class: "soft" }, event.time === null ? "" : moment(event.time, currentLanguage())),
        el("span", {}, el("strong", {}, event.reason), event.count > 1 ? ` × ${event.count}` : "", " ", el("span", { lang: "en" }, event.message)),
      ),
    );
  }

  #showTimeline() {
    const width = this.#part.timeline.clientWidth;
    if (this.#replicas === null || width === 0) return;
    const empty = this.#replicas.timeline.length === 0;
    this.#part.timeline.replaceChildren(...(empty ? [] : timeline(this.#replicas, width)));
    setText(this.#part.timelineProblem, this.#replicas.problem || (empty ? t("noFigures") : ""));
  }

  #showReplicas() {
    const { pods, replicas, podsProblem } = this.#replicas;
    setText(this.#part.podsProblem, podsProblem);
    const known = new Map(pods.map((pod) => [pod.name, pod]));
    const seen = new Set(replicas.map((replica) => replica.pod));
    const lines = [
      ...replicas.map((replica) => [known.get(replica.pod), replica]),
      ...pods.filter((pod) => !seen.has(pod.name)).map((pod) => [pod, null]),
    ];
    this.#part.replicas.replaceChildren(...(lines.length === 0 ? [el("p", { class: "soft" }, t("noReplicas"))] : [table(lines, this.#now())]));
  }
}

function table(lines, now) {
  const heads = ["colPod", "colResidency", "colHeld", "colHost", "colReleased", "colIdle", "colWake"];
  const rows = lines.map(([pod, replica]) => {
    const name = pod?.name ?? replica.pod;
    const state = pod === undefined ? "" : pod.ready ? t("podReady") : `${pod.phase}, ${t("podNotReady")}`;
    const of = (value, shown) => (value === null || value === undefined ? "–" : shown(value));
    const where = replica?.residency ?? null;
    const idle = replica?.inFlight > 0 ? t("inUse") : of(replica?.idleSince, (at) => age(Math.max(0, now - at)));
    const device = replica?.device.startsWith("sim") ? ` · ${t("simulated")}` : "";
    return el(
      "tr",
      { "data-pod": name },
      el("th", { scope: "row" }, name, el("span", { class: "soft small" }, [replica?.model, state].filter(Boolean).join(" · ") + device)),
      where === null ? el("td", {}, t("noFiguresShort")) : el("td", {}, emoji(sign(where)), ` ${tier(where)}`),
      el("td", {}, of(replica?.gpuBytes, bytes)),
      el("td", {}, of(replica?.hostBytes, bytes)),
      el("td", {}, of(replica?.releasedBytes, bytes)),
      el("td", {}, idle),
      el("td", {}, where === "GPU" ? "–" : of(replica?.restoreSeconds, duration)),
    );
  });
  const head = el("thead", {}, el("tr", {}, ...heads.map((key) => el("th", { scope: "col" }, t(key)))));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": t("replicasHeading") }, el("table", { class: "replicas" }, head, el("tbody", {}, ...rows)));
}

function badge(text) {
  return el("span", { class: "badge" }, text);
}
