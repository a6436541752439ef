// The drawing area of a chart: as wide as there is room, in pixels, so that text and lines keep their size at any width.
// It knows where the pointer is, and what time that is.

import { el, svg } from "./dom.js";
import { onWidth } from "./width.js";

export const HEIGHT = 200;

export class Frame {
  element = el("div", { class: "frame" });
  #edge;
  #pointed = null;

  /** edge: the margins of the drawing. draw(): called when width or pointer changed. */
  constructor(edge, draw) {
    this.#edge = edge;
    onWidth(this.element, draw);
    const point = (offset) => {
      this.#pointed = offset;
      draw();
    };
    this.element.addEventListener("pointermove", (event) => point(event.offsetX));
    this.element.addEventListener("pointerleave", () => point(null));
  }

  get width() {
    return this.element.clientWidth;
  }

  /** Where a moment between start and end is. */
  x(time, { start, end }) {
    return this.#edge.left + ((time - start) / (end - start)) * this.#inner;
  }

  /** Where a count of at most `most` is. */
  y(count, most) {
    return HEIGHT - this.#edge.bottom - (count / most) * (HEIGHT - this.#edge.top - this.#edge.bottom);
  }

  /** The last point at or before the pointer, or the last of all; `at(point)` is its time. */
  pointed(points, at, { start, end }) {
    if (this.#pointed === null) return points.at(-1);
    const time = start + ((this.#pointed - this.#edge.left) / this.#inner) * (end - start);
    return points.findLast((point) => at(point) <= time) ?? points[0];
  }

  /** Replaces what is drawn. */
  show(summary, ...parts) {
    this.element.replaceChildren(
      svg("svg", { width: this.width, height: HEIGHT, role: "img", "aria-label": summary }, ...parts, this.#pointer()),
    );
  }

  clear() {
    this.element.replaceChildren();
  }

  /** A line across, at a height of its own. */
  line(y, name) {
    return svg("line", { x1: this.#edge.left, x2: this.width - this.#edge.right, y1: y, y2: y, class: name });
  }

  label(x, y, said, anchor = "start") {
    return svg("text", { x, y, "text-anchor": anchor }, said);
  }

  get #inner() {
    return this.width - this.#edge.left - this.#edge.right;
  }

  #pointer() {
    if (this.#pointed === null) return null;
    const [x, bottom] = [this.#pointed, HEIGHT - this.#edge.bottom];
    return svg("line", { x1: x, x2: x, y1: this.#edge.top, y2: bottom, class: "pointer" });
  }
}
