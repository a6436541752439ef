// GPU memory over the last hour (as soon as there is one), from the server's samples. A step holds until the next sample;
// nothing in between was measured.

import { el, setText, svg } from "./dom.js";
import { bytes, clock } from "./format.js";
import { Frame, HEIGHT } from "./frame.js";
import { t } from "./i18n.js";

// The shortest that holds all samples: a server that has just started shows more than a thin line at the edge.
const WINDOWS_MINUTES = [10, 20, 30, 60];
const HOUR = 3600;
const EDGE = { top: 12, right: 6, bottom: 22, left: 6 };

export class Chart {
  #history = null;
  #heading = el("h3");
  #readout = el("p", { class: "readout soft" });
  #legend = el("ul", { class: "keys" });
  #frame = new Frame(EDGE, () => this.draw());

  constructor(region) {
    region.append(el("div", { class: "chart-head" }, this.#heading, this.#legend), this.#frame.element, this.#readout);
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
    if (this.#history === null || this.#history.samples.length === 0 || this.#frame.width === 0) {
      setText(this.#readout, t("chartWaiting"));
      return;
    }
    this.#draw();
    this.#read();
  }

  #draw() {
    const { samples, totalBytes } = this.#history;
    const window = this.#window();
    const x = (time) => this.#frame.x(time, window);
    const y = (count) => this.#frame.y(count, totalBytes);
    const steps = (of) => {
      const points = samples.filter((sample) => of(sample) !== null);
      return points.map((s, i) => `${i === 0 ? "M" : `H${x(s.time)}V`}${i === 0 ? `${x(s.time)},` : ""}${y(of(s))}`).join("");
    };
    const area = (path, from) => (path === "" ? "" : `${path}V${y(0)}H${x(from.time)}Z`);
    const used = steps((sample) => sample.usedBytes);
    const mine = steps((sample) => sample.processBytes);
    const first = samples.find((sample) => sample.processBytes !== null) ?? samples[0];
    this.#frame.show(
      this.#summary(),
      ...[0, 0.5].map((part) => this.#frame.line(y(part * totalBytes), "grid")),
      this.#frame.line(y(totalBytes), "total"),
      svg("path", { d: area(used, samples[0]), class: "all area" }),
      svg("path", { d: used, class: "all stroke" }),
      svg("path", { d: area(mine, first), class: "process area" }),
      svg("path", { d: mine, class: "process stroke" }),
      this.#frame.label(EDGE.left, y(totalBytes / 2) - 4, bytes(totalBytes / 2)),
      this.#frame.label(EDGE.left, y(totalBytes) + 13, bytes(totalBytes)),
      ...[1, 0.5, 0].map((part) => {
        const anchor = part === 1 ? "start" : part === 0 ? "end" : "middle";
        const ago = part * (window.end - window.start);
        const text = part === 0 ? t("chartNow") : t("chartAgo", { minutes: ago / 60 });
        return this.#frame.label(x(window.end - ago), HEIGHT - 5, text, anchor);
      }),
    );
  }

  #window() {
    const end = this.#history.samples.at(-1).time;
    return { start: end - this.#minutes() * 60, end };
  }

  #minutes() {
    const samples = this.#history?.samples ?? [];
    const covered = samples.length > 0 ? samples.at(-1).time - samples[0].time : 0;
    return WINDOWS_MINUTES.find((minutes) => covered <= minutes * 60) ?? WINDOWS_MINUTES.at(-1);
  }

  #read() {
    const sample = this.#frame.pointed(this.#history.samples, (one) => one.time, this.#window());
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
