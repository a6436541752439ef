// GPU memory over the last hour (as soon as there is one), from the server's samples, drawn in pixels of the space that there is: text and
// lines keep their size at any width. A step holds until the next sample; nothing in between was measured.

import { el, setText, svg } from "./dom.js";
import { bytes, clock } from "./format.js";
import { t } from "./i18n.js";

// The shortest that holds all samples: a server that has just started shows more than a thin line at the edge.
const WINDOWS_MINUTES = [10, 20, 30, 60];
const HOUR = 3600;
const HEIGHT = 200;
const EDGE = { top: 12, right: 6, bottom: 22, left: 6 };

export class Chart {
  #history = null;
  #heading = el("h3");
  #readout = el("p", { class: "readout soft" });
  #legend = el("ul", { class: "keys" });
  #frame = el("div", { class: "frame" });
  #pointed = null;

  constructor(region) {
    region.append(el("div", { class: "chart-head" }, this.#heading, this.#legend), this.#frame, this.#readout);
    new ResizeObserver(() => this.draw()).observe(this.#frame);
    this.#frame.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#frame.addEventListener("pointerleave", () => this.#point(null));
  }

  load(history) {
    if (history.totalBytes === null) return; // of a device that failed: there is no measure to draw it by
    this.#history = history;
    this.draw();
  }

  add(sample) {
    if (this.#history === null) return;
    const { samples } = this.#history;
    if (samples.length > 0 && samples.at(-1).time >= sample.time) return;
    samples.push(sample);
    while (samples[0].time < sample.time - HOUR) samples.shift();
    this.draw();
  }

  draw() {
    setText(this.#heading, t("chartHeading", { minutes: this.#minutes() }));
    this.#legend.replaceChildren(
      ...["process", "all", "total"].map((name) => {
        const label = t(`chart${name[0].toUpperCase()}${name.slice(1)}`);
        return el("li", {}, el("span", { class: `key ${name}`, "aria-hidden": "true" }), label);
      }),
    );
    const width = this.#frame.clientWidth;
    if (this.#history === null || this.#history.samples.length === 0 || width === 0) {
      setText(this.#readout, t("chartWaiting"));
      return;
    }
    this.#frame.replaceChildren(this.#picture(width));
    this.#read();
  }

  #picture(width) {
    const { samples, totalBytes } = this.#history;
    const end = samples.at(-1).time;
    const span = this.#minutes() * 60;
    const x = (time) => EDGE.left + ((time - end + span) / span) * (width - EDGE.left - EDGE.right);
    const y = (count) => HEIGHT - EDGE.bottom - (count / totalBytes) * (HEIGHT - EDGE.top - EDGE.bottom);
    const steps = (of) => {
      const points = samples.filter((sample) => of(sample) !== null);
      return points.map((s, i) => `${i === 0 ? "M" : `H${x(s.time)}V`}${i === 0 ? `${x(s.time)},` : ""}${y(of(s))}`).join("");
    };
    const area = (path, from) => (path === "" ? "" : `${path}V${y(0)}H${x(from.time)}Z`);
    const used = steps((sample) => sample.usedBytes);
    const mine = steps((sample) => sample.processBytes);
    const first = samples.find((sample) => sample.processBytes !== null) ?? samples[0];
    return svg(
      "svg",
      { width, height: HEIGHT, role: "img", "aria-label": this.#summary() },
      ...[0, 0.5].map((part) => line(EDGE.left, width - EDGE.right, y(part * totalBytes), "grid")),
      line(EDGE.left, width - EDGE.right, y(totalBytes), "total"),
      svg("path", { d: area(used, samples[0]), class: "all area" }),
      svg("path", { d: used, class: "all stroke" }),
      svg("path", { d: area(mine, first), class: "process area" }),
      svg("path", { d: mine, class: "process stroke" }),
      label(EDGE.left, y(totalBytes / 2) - 4, bytes(totalBytes / 2), "start"),
      label(EDGE.left, y(totalBytes) + 13, bytes(totalBytes), "start"),
      ...[1, 0.5, 0].map((part) => {
        const anchor = part === 1 ? "start" : part === 0 ? "end" : "middle";
        const text = part === 0 ? t("chartNow") : t("chartAgo", { minutes: (part * span) / 60 });
        return label(x(end - part * span), HEIGHT - 5, text, anchor);
      }),
      this.#pointed === null ? null : svg("line", { x1: this.#pointed, x2: this.#pointed, y1: EDGE.top, y2: y(0), class: "pointer" }),
    );
  }

  #minutes() {
    const samples = this.#history?.samples ?? [];
    const covered = samples.length > 0 ? samples.at(-1).time - samples[0].time : 0;
    return WINDOWS_MINUTES.find((minutes) => covered <= minutes * 60) ?? WINDOWS_MINUTES.at(-1);
  }

  #point(offset) {
    this.#pointed = offset;
    this.draw();
  }

  #read() {
    const { samples } = this.#history;
    let sample = samples.at(-1);
    if (this.#pointed !== null) {
      const inner = this.#frame.clientWidth - EDGE.left - EDGE.right;
      const span = this.#minutes() * 60;
      const time = samples.at(-1).time - span + ((this.#pointed - EDGE.left) / inner) * span;
      sample = samples.findLast((one) => one.time <= time) ?? samples[0];
    }
    const [used, process] = [bytes(sample.usedBytes), told(sample.processBytes)];
    setText(this.#readout, t("chartAt", { time: clock(sample.time), used, process }));
  }

  #summary() {
    const { samples, totalBytes } = this.#history;
    const last = samples.at(-1);
    return t("chartSummary", {
      heading: t("chartHeading", { minutes: this.#minutes() }),
      used: bytes(last.usedBytes),
      total: bytes(totalBytes),
      process: told(last.processBytes),
      most: bytes(Math.max(...samples.map((sample) => sample.usedBytes))),
    });
  }
}

function told(count) {
  return count === null ? t("notTold") : bytes(count);
}

function line(x1, x2, y, name) {
  return svg("line", { x1, x2, y1: y, y2: y, class: name });
}

function label(x, y, text, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, text);
}
