// What the weights hold on the GPUs and, on top of it, what sleeping gave back: together what they would hold without
// Dormouse. Drawn in pixels of the space that there is, so that text and lines keep their size at any width.

import { get } from "./api.js";
import { el, setText, svg } from "./dom.js";
import { bytes, clock, gibHours } from "./format.js";
import { currentLanguage, t } from "./i18n.js";
import { axisTime, rangeSwitch } from "./ranges.js";
import { onWidth } from "./width.js";
import { moment } from "./words.js";

const HEIGHT = 200;
const EDGE = { top: 14, right: 6, bottom: 22, left: 6 };

export class SavingsChart {
  #data = null;
  #range = "1h";
  #pointed = null;
  #heading = el("h2", { id: "savings-heading" });
  #frame = el("div", { class: "frame" });
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
      this.#frame,
      this.#readout,
    );
    setText(this.#heading, t("savingsHeading"));
    onWidth(this.#frame, () => this.draw());
    this.#frame.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#frame.addEventListener("pointerleave", () => this.#point(null));
  }

  async load(namespace) {
    const answer = await get("api/savings", { namespace, range: this.#range });
    this.#data = answer;
    this.draw();
  }

  draw() {
    const data = this.#data;
    const width = this.#frame.clientWidth;
    if (data === null || width === 0) return;
    const empty = data.problem !== "" || data.held.length === 0;
    this.#label.hidden = empty || !(data.simulated || data.leftOut);
    setText(this.#label, data.simulated ? t("allSimulated") : t("simulatedLeftOut"));
    if (empty) {
      this.#frame.replaceChildren();
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
    this.#frame.replaceChildren(this.#picture(width));
    this.#read();
  }

  /** From the first sample on: a Prometheus that has just begun shows more than a thin line at the edge. */
  #window() {
    const { start, end, held } = this.#data;
    return { start: Math.min(end - 60, Math.max(start, held[0][0])), end };
  }

  #picture(width) {
    const { step } = this.#data;
    const { start, end } = this.#window();
    const points = stacked(this.#data);
    const most = Math.max(1, ...points.map((point) => point.held + point.released));
    const x = (time) => EDGE.left + ((time - start) / (end - start)) * (width - EDGE.left - EDGE.right);
    const y = (count) => HEIGHT - EDGE.bottom - (count / most) * (HEIGHT - EDGE.top - EDGE.bottom);
    const held = area(points, step, end, x, () => y(0), (point) => y(point.held));
    const released = area(points, step, end, x, (point) => y(point.held), (point) => y(point.held + point.released));
    const ends = [start, (start + end) / 2, end];
    return svg(
      "svg",
      { width, height: HEIGHT, role: "img", "aria-label": this.#summary(points, most) },
      ...[0, 0.5, 1].map((part) => svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(part * most), y2: y(part * most), class: "grid" })),
      svg("path", { d: held, class: "held" }),
      svg("path", { d: released, class: "released" }),
      ...[0.5, 1].map((part) => text(EDGE.left, y(part * most) - 3, bytes(part * most), "start")),
      ...ends.map((at, index) => text(x(at), HEIGHT - 5, axisTime(at, end - start, currentLanguage()), ["start", "middle", "end"][index])),
      this.#pointed === null
        ? null
        : svg("line", { x1: this.#pointed, x2: this.#pointed, y1: EDGE.top, y2: y(0), class: "pointer" }),
    );
  }

  #point(offset) {
    this.#pointed = offset;
    this.draw();
  }

  #read() {
    const { start, end } = this.#window();
    const points = stacked(this.#data);
    let point = points.at(-1);
    if (this.#pointed !== null) {
      const inner = this.#frame.clientWidth - EDGE.left - EDGE.right;
      const at = start + ((this.#pointed - EDGE.left) / inner) * (end - start);
      point = points.findLast((one) => one.at <= at) ?? points[0];
    }
    const time = end - start > 86400 ? moment(point.at, currentLanguage()) : clock(point.at);
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

function text(x, y, said, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, said);
}
