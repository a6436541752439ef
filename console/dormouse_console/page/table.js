// A table of any length that stays smooth: only the rows that can be seen, and a few around them, are in the page. It is a
// table to a screen reader all the same, which is told of the rows that are not there (aria-rowcount, aria-rowindex).

import { el } from "./dom.js";

const AROUND = 12;

export class VirtualTable {
  #rows = [];
  #shown = new Map();
  #body = el("div", { role: "rowgroup", class: "rows" });
  #draw;
  #height;
  #asked = false;

  /** draw(element, row): fills a row's element, which may have shown another row before. `height()` in px. */
  constructor(element, header, draw, height) {
    [this.element, this.#draw, this.#height] = [element, draw, height];
    element.setAttribute("role", "table");
    element.append(el("div", { role: "rowgroup", class: "head" }, header), this.#body);
    const soon = () => this.#soon();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon, { passive: true });
  }

  /** rows: objects with a `key` that is theirs alone, in the order to show. */
  show(rows) {
    this.#rows = rows;
    this.element.setAttribute("aria-rowcount", String(rows.length + 1));
    this.refresh();
  }

  /** Draw again what can be seen. */
  refresh() {
    const height = this.#height();
    this.#body.style.height = `${this.#rows.length * height}px`;
    const above = -this.#body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / height) - AROUND);
    const last = Math.min(this.#rows.length, Math.ceil((above + innerHeight) / height) + AROUND);
    const before = this.#shown;
    this.#shown = new Map();
    const visible = this.#rows.slice(first, last);
    for (const row of visible) {
      const kept = before.get(row.key);
      if (kept !== undefined) {
        this.#shown.set(row.key, kept);
        before.delete(row.key);
      }
    }
    // A row with the focus is not taken away from under who stands there, even when it is out of sight.
    const spare = [...before.values()].filter((element) => !element.contains(document.activeElement));
    visible.forEach((row, index) => {
      let element = this.#shown.get(row.key);
      if (element === undefined) {
        element = spare.pop() ?? el("div", { role: "row", class: "row" });
        this.#shown.set(row.key, element);
      }
      element.style.transform = `translateY(${(first + index) * height}px)`;
      element.setAttribute("aria-rowindex", String(first + index + 2));
      this.#draw(element, row);
      if (element.parentNode === null) this.#body.append(element);
    });
    for (const element of spare) element.remove();
    for (const element of before.values()) {
      if (element.contains(document.activeElement) && !visible.length) element.remove();
    }
    this.#inOrder();
  }

  /** Tab goes from row to row as they are seen. */
  #inOrder() {
    const index = (element) => Number(element.getAttribute("aria-rowindex"));
    const wanted = [...this.#body.children].sort((one, other) => index(one) - index(other));
    wanted.forEach((element, at) => {
      if (this.#body.children[at] !== element) this.#body.insertBefore(element, this.#body.children[at]);
    });
  }

  #soon() {
    if (this.#asked || this.element.offsetParent === null) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.refresh();
    });
  }
}
