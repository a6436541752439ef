// What the weights hold on the GPUs and, on top of it, what sleeping gave back: together what they would hold without
// Dormouse.

import { get } from "./api.js";
import { el, setText, svg } from "./dom.js";
import { bytes, clock, gibHours } from "./format.js";
import { Frame, HEIGHT } from "./frame.js";
import { currentLanguage, t } from "./i18n.js";
import { moment } from "./quantities.js";
import { axisTime, rangeSwitch } from "./ranges.js";

const EDGE = { top: 14, right: 6, bottom: 22, left: 6 };

export class SavingsChart {
  #data = null;
  #range = "1h";
  #heading = el("h2", { id: "savings-heading" });
  #frame = new Frame(EDGE, () => this.draw());
  #readout = el("p", { class: "readout soft" });
  #figures = el("dl", { class: "figures" });
  #label = el("p", { class: "badge", hidden: "" });

  /** asked: called when another range was chosen. */
  constructor(region, asked) {
    const ranges = rangeSwitch(this.#range, (range) => {
      this.#range = range;
      asked();
    });
    const keys = el(
      "ul",
      { class: "keys" },
      ...["held", "released"].map((name) => el("li", {}, el("span", { class: `key ${name}`, "aria-hidden": "true" }), t(`chart_${name}`))),
    );
    region.append(
      el("div", { class: "chart-head" }, this.#heading, this.#label, ranges),
      this.#figures,
      keys,
      this.#frame.element,
      this.#readout,
    );
    setText(this.#heading, t("savingsHeading"));
  }

  async load(namespace) {
    const answer = await get("api/savings", { namespace, range: this.#range });
    this.#data = answer;
    this.draw();
  }

  draw() {
    const data = this.#data;
    if (data === null || this.#frame.width === 0) return;
    const empty = data.problem !== "" || data.held.length === 0;
    this.#label.hidden = empty || !(data.simulated || data.leftOut);
    setText(this.#label, data.simulated ? t("allSimulated") : t("simulatedLeftOut"));
    if (empty) {
      this.#frame.clear();
      this.#figures.replaceChildren();
      setText(this.#readout, data.problem || t("noFigures"));
      return;
    }
    const [held, released] = [data.held, data.released].map((points) => points.at(-1)?.[1] ?? 0);
    this.#figures.replaceChildren(
      figure("releasedNow", t("releasedNow"), bytes(released)),
      figure("heldNow", t("heldNow"), bytes(held)),
      figure(
        "saved",
        t("savedOver", { range: t(`range${this.#range}`) }),
        data.savedByteSeconds === null ? "–" : t("gibHours", { value: gibHours(data.savedByteSeconds) }),
      ),
    );
    this.#draw();
    this.#read();
  }

  /** From the first sample on: a Prometheus that has just begun shows more than a thin line at the edge. */
  #window() {
    const { start, end, held } = this.#data;
    return { start: Math.min(end - 60, Math.max(start, held[0][0])), end };
  }

  #draw() {
    const points = stacked(this.#data);
    const window = this.#window();
    const most = Math.max(1, ...points.map((point) => point.held + point.released));
    const x = (time) => this.#frame.x(time, window);
    const y = (count) => this.#frame.y(count, most);
    const { start, end } = window;
    const { step } = this.#data;
    const held = area(points, step, end, x, () => y(0), (point) => y(point.held));
    const released = area(points, step, end, x, (point) => y(point.held), (point) => y(point.held + point.released));
    const ends = [start, (start + end) / 2, end];
    this.#frame.show(
      this.#summary(points, most),
      ...[0, 0.5, 1].map((part) => this.#frame.line(y(part * most), "grid")),
      svg("path", { d: held, class: "held" }),
      svg("path", { d: released, class: "released" }),
      ...[0.5, 1].map((part) => this.#frame.label(EDGE.left, y(part * most) - 3, bytes(part * most))),
      ...ends.map((at, index) =>
        this.#frame.label(x(at), HEIGHT - 5, axisTime(at, end - start, currentLanguage()), ["start", "middle", "end"][index]),
      ),
    );
  }

  #read() {
    const window = this.#window();
    const point = this.#frame.pointed(stacked(this.#data), (one) => one.at, window);
    const time = window.end - window.start > 86400 ? moment(point.at, currentLanguage()) : clock(point.at);
    setText(this.#readout, t("chartRead", { time, held: bytes(point.held), released: bytes(point.released) }));
  }

  #summary(points, most) {
    const last = points.at(-1);
    return t("chartSummary", { held: bytes(last.held), released: bytes(last.released), most: bytes(most) });
  }
}

function figure(name, label, value) {
  return el("div", { "data-figure": name }, el("dt", {}, label), el("dd", { class: "figure" }, value));
}

function stacked(data) {
  const released = new Map(data.released);
  return data.held.map(([at, held]) => ({ at, held, released: released.get(at) ?? 0 }));
}

/** Steps, each to the next sample; a gap in the samples stays a gap. */
function area(points, step, end, x, low, high) {
  const pieces = [];
  for (let from = 0; from < points.length; ) {
    let to = from;
    while (to + 1 < points.length && points[to + 1].at - points[to].at <= step * 1.5) to += 1;
    const part = points.slice(from, to + 1);
    const right = (index) => x(index + 1 < part.length ? part[index + 1].at : Math.min(end, part[index].at + step));
    const top = part.map((point, index) => `${x(point.at)},${high(point)}H${right(index)}`).join("L");
    const back = part.map((point, index) => `${right(index)},${low(point)}H${x(point.at)}`).reverse().join("L");
    pieces.push(`M${top}L${back}Z`);
    from = to + 1;
  }
  return pieces.join("");
}
