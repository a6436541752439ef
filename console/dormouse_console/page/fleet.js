// All models: what they save, and a table to search, filter and sort. A thousand of them are one small answer.

import { get } from "./api.js";
import { SavingsChart } from "./chart.js";
import { el, emoji, setText } from "./dom.js";
import { bytes, number } from "./format.js";
import { t } from "./i18n.js";
import { age, fromQuantity } from "./quantities.js";
import { keep, kept } from "./storage.js";
import { VirtualTable } from "./table.js";
import { mode, RESIDENCIES, sign, tier, trigger, whereabouts } from "./words.js";

const NAMESPACE = "dormouse.console.namespace";
const BY_TEXT = new Intl.Collator("en", { numeric: true });
const COLUMNS = ["name", "residency", "desired", "ready", "mode", "replicas", "released", "moved", "idle"];
const SORTED_BY = {
  name: (row) => `${row.name} ${row.namespace}`,
  residency: (row) => rank(row.residency),
  desired: (row) => rank(row.desired),
  ready: (row) => `${row.ready} ${row.reason}`,
  mode: (row) => row.mode,
  replicas: (row) => -row.gpu,
  released: (row) => -(row.releasedBytes ?? -1),
  moved: (row) => -(row.movedAt ?? 0),
  idle: (row) => row.idleSince ?? Infinity,
};

export class Fleet {
  #rows = [];
  #early = null;
  #now = 0;
  #receivedAt = 0;
  #sort = { by: "name", up: true };
  #residency = null;
  #troubled = false;
  #counts = el("div", { class: "chips", role: "group" });
  #found = el("p", { class: "soft", role: "status" });
  #note = el("p", { class: "soft" });
  #empty = el("div", { class: "empty", hidden: "" });
  #search;
  #namespace;
  #table;
  #chart;

  constructor(region) {
    this.region = region;
    this.#build();
  }

  /** null: all namespaces. */
  get namespace() {
    return this.#namespace.value.trim() || null;
  }

  /** Ask before it is known who asks: the answer is there when the page is. */
  prefetch() {
    this.#early = get("api/fleet", { namespace: this.namespace });
    // Why it failed is told when it is waited for.
    this.#early.catch(() => {});
  }

  async load() {
    const asked = this.#early ?? get("api/fleet", { namespace: this.namespace });
    this.#early = null;
    const answer = await asked;
    [this.#now, this.#receivedAt] = [answer.now, performance.now()];
    this.#rows = answer.rows.map((values) => {
      const row = Object.fromEntries(answer.columns.map((column, index) => [column, values[index]]));
      row.key = `${row.namespace}/${row.name}`;
      row.releasedBytes = fromQuantity(row.released);
      row.idleSince = answer.idle[row.key] ?? null;
      return row;
    });
    setText(this.#note, answer.problem);
    this.show();
  }

  loadSavings() {
    return this.#chart.load(this.namespace);
  }

  /** Nothing that could be somebody else's stays when the token changes. */
  clear() {
    this.#rows = [];
    this.#early = null;
    this.#build();
  }

  show() {
    const word = this.#search.value.trim().toLowerCase();
    const named = this.#rows.filter((row) => word === "" || row.key.toLowerCase().includes(word));
    this.#showCounts(named);
    const rows = named.filter(
      (row) =>
        (this.#residency === null || row.residency === this.#residency) && (!this.#troubled || row.ready !== "True"),
    );
    const of = SORTED_BY[this.#sort.by];
    const direction = this.#sort.up ? 1 : -1;
    const compared = (a, b) => (typeof a === "string" ? BY_TEXT.compare(a, b) : a - b);
    const keyed = rows.map((row) => [of(row), row]);
    keyed.sort(([a, one], [b, other]) => direction * (compared(a, b) || 0) || BY_TEXT.compare(one.key, other.key));
    this.#table.show(keyed.map(([, row]) => row));
    setText(this.#found, t("found", { shown: number(rows.length), total: number(this.#rows.length) }));
    this.#empty.hidden = this.#rows.length > 0;
    this.#table.element.hidden = this.#rows.length === 0;
  }

  /** Ages go on while nothing else does. */
  tick() {
    if (this.#rows.length > 0) this.#table.refresh();
  }

  #build() {
    const namespace = this.#namespace?.value ?? kept("localStorage", NAMESPACE);
    this.#namespace = el("input", { id: "namespace", type: "text", size: "14", spellcheck: "false", maxlength: "63" });
    this.#namespace.placeholder = t("allNamespaces");
    this.#namespace.value = namespace;
    this.#namespace.addEventListener("change", () => {
      keep("localStorage", NAMESPACE, this.#namespace.value.trim());
      this.region.dispatchEvent(new Event("scope"));
    });
    this.#search = el("input", { id: "search", type: "search", size: "18", spellcheck: "false" });
    this.#search.addEventListener("input", () => this.show());
    const heads = COLUMNS.map((column) => this.#head(column));
    const element = el("div", { class: "fleet", "aria-labelledby": "fleet-heading" });
    this.#table = new VirtualTable(
      element,
      el("div", { role: "row", class: "row", "aria-rowindex": "1" }, ...heads),
      (target, row) => this.#drawRow(target, row),
      () => parseFloat(getComputedStyle(element).getPropertyValue("--row")),
    );
    const chart = el("section", { class: "card", "aria-labelledby": "savings-heading" });
    this.#chart = new SavingsChart(chart, () => this.region.dispatchEvent(new Event("savings")));
    const troubled = el("button", { type: "button", "aria-pressed": "false" }, t("notReadyOnly"));
    troubled.setAttribute("aria-pressed", String(this.#troubled));
    troubled.addEventListener("click", () => {
      this.#troubled = !this.#troubled;
      troubled.setAttribute("aria-pressed", String(this.#troubled));
      this.show();
    });
    this.#empty.replaceChildren(el("p", {}, t("noModels")), el("p", { class: "soft" }, t("noModelsHint")));
    this.region.replaceChildren(
      chart,
      el(
        "section",
        { class: "card", "aria-labelledby": "fleet-heading" },
        el("h2", { id: "fleet-heading" }, t("fleetHeading")),
        el(
          "div",
          { class: "filters" },
          field("namespace", t("namespace"), this.#namespace),
          field("search", t("search"), this.#search),
          this.#counts,
          troubled,
        ),
        this.#found,
        this.#note,
        this.#empty,
        element,
      ),
    );
    this.#counts.setAttribute("aria-label", t("colResidency"));
  }

  #head(column) {
    const button = el("button", { type: "button", "data-sort": column }, heading(column));
    const head = el("div", { role: "columnheader", class: column }, button);
    const mark = () => {
      const mine = this.#sort.by === column;
      head.setAttribute("aria-sort", mine ? (this.#sort.up ? "ascending" : "descending") : "none");
    };
    mark();
    button.addEventListener("click", () => {
      this.#sort = { by: column, up: this.#sort.by === column ? !this.#sort.up : true };
      for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
      mark();
      this.show();
    });
    return head;
  }

  #showCounts(rows) {
    const unheardOf = rows.map((row) => row.residency).filter((residency) => !RESIDENCIES.includes(residency));
    const chips = [...RESIDENCIES, ...new Set(unheardOf)].map((residency) => [residency, rows.filter((row) => row.residency === residency).length])
      .filter(([residency, count]) => count > 0 || residency === this.#residency)
      .map(([residency, count]) => {
        const pressed = String(this.#residency === residency);
        const chip = el("button", { type: "button", "aria-pressed": pressed, "data-residency": residency });
        chip.append(emoji(sign(residency)), ` ${tier(residency)} ${number(count)}`);
        chip.addEventListener("click", () => {
          this.#residency = this.#residency === residency ? null : residency;
          this.show();
          this.#counts.querySelector(`[data-residency=${CSS.escape(residency)}]`)?.focus();
        });
        return chip;
      });
    const before = [...this.#counts.children].map((chip) => chip.textContent + chip.getAttribute("aria-pressed"));
    if (before.join() !== chips.map((chip) => chip.textContent + chip.getAttribute("aria-pressed")).join()) {
      this.#counts.replaceChildren(...chips);
    }
  }

  #drawRow(element, row) {
    const now = this.#now + (performance.now() - this.#receivedAt) / 1000;
    const texts = cells(row, now);
    if (element.dataset.key !== row.key || element.children.length === 0) {
      element.dataset.key = row.key;
      element.replaceChildren(...COLUMNS.map((column) => el("div", { role: "cell", class: column, "data-label": heading(column) })));
      const href = `#/models/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}`;
      element.children[0].append(el("a", { href }, row.name), el("span", { class: "soft" }, row.namespace));
      element.children[1].append(emoji(""), el("span"));
    }
    element.dataset.residency = row.residency;
    const [shown, where] = element.children[1].children;
    setText(shown, sign(row.residency));
    setText(where, texts.residency);
    COLUMNS.forEach((column, index) => {
      const cell = element.children[index];
      if (index > 1) setText(cell, texts[column]);
      if (column === "ready") cell.dataset.ready = row.ready;
      // Cut off where there is no room: whole when pointed at.
      const whole = column === "moved" ? (row.message ?? "") : column === "name" ? row.key : texts[column];
      if (cell.title !== whole) cell.title = whole;
    });
  }
}

function cells(row, now) {
  const since = (at) => age(Math.max(0, now - at));
  const moved = row.movedAt === null ? "–" : t("movedCell", { to: tier(row.movedTo), why: trigger(row.trigger), ago: since(row.movedAt) });
  const held = row.override !== "Auto" && (row.overrideUntil === null || row.overrideUntil > now);
  return {
    residency: whereabouts(row.residency),
    desired: row.desired === null ? "–" : tier(row.desired) + (held ? " 📌" : ""),
    ready: row.reason === "" ? t("notVisited") : row.reason,
    mode: mode(row.mode),
    replicas: `${row.gpu}/${row.total}`,
    released: row.releasedBytes ? bytes(row.releasedBytes) : "–",
    moved,
    idle: row.idleSince === null ? "–" : row.idleSince === 0 ? t("inUse") : since(row.idleSince),
  };
}

function heading(column) {
  return t(`col${column[0].toUpperCase()}${column.slice(1)}`);
}

function field(id, label, input) {
  return el("div", { class: "field" }, el("label", { for: id }, label), input);
}

/** From the GPU down; what the page does not know comes last. */
function rank(residency) {
  return RESIDENCIES.includes(residency) ? RESIDENCIES.indexOf(residency) : RESIDENCIES.length;
}
