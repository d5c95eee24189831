// A table of any length, of which only the rows in sight exist.

import { element } from "/element.js";

const OVERSCAN = 8;

/**
 * `columns` are `{name, label, of, compare}`; `draw(item)` gives the cells' contents in that order,
 * and the link that the keyboard stops at carries `data-stop`. `key(item)` tells one item from another.
 */
export class Rows {
  constructor(place, { label, columns, draw, key, sort }) {
    Object.assign(this, { columns, draw, key, sort, items: [], made: new Map(), active: null });
    this.top = element("tr", { class: "space", "aria-hidden": "true" });
    this.bottom = element("tr", { class: "space", "aria-hidden": "true" });
    this.body = element("tbody", { role: "rowgroup" }, this.top, this.bottom);
    this.heads = new Map(columns.map((column) => [column.name, this.head(column)]));
    const heads = element("tr", { role: "row", "aria-rowindex": 1 }, ...this.heads.values());
    const head = element("thead", { role: "rowgroup" }, heads);
    this.table = element("table", { role: "table", "aria-label": label }, head, this.body);
    this.place = place;
    place.replaceChildren(this.table);
    place.addEventListener("scroll", () => this.draws(), { passive: true });
    this.body.addEventListener("keydown", (event) => this.move(event));
    this.body.addEventListener("focusin", (event) => this.stop(event.target.closest("tr")));
    new ResizeObserver(() => this.draws(true)).observe(place);
    this.marks();
  }

  /** Shows these items, in the order that the reader chose. */
  show(items) {
    const { by, down } = this.sort;
    const compare = this.columns.find((column) => column.name === by).compare;
    this.items = [...items].sort((a, b) => (down ? -1 : 1) * compare(a, b) || (this.key(a) < this.key(b) ? -1 : 1));
    this.table.setAttribute("aria-rowcount", this.items.length + 1);
    this.draws(true);
  }

  head({ name, label, number }) {
    const press = () => {
      this.sort = { by: name, down: this.sort.by === name ? !this.sort.down : Boolean(number) };
      this.marks();
      this.show(this.items);
    };
    const button = element("button", { type: "button", click: press }, label);
    return element("th", { role: "columnheader", scope: "col", class: `cell ${name}` }, button);
  }

  marks() {
    for (const [name, head] of this.heads) {
      const order = this.sort.down ? "descending" : "ascending";
      head.setAttribute("aria-sort", name === this.sort.by ? order : "none");
    }
  }

  /** Draws once before the next frame, however often it is asked to; at once where an item may have changed. */
  draws(now = false) {
    if (now) return this.drawNow();
    this.frame ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const height = this.rowHeight();
    if (!height) return;
    const at = this.place.scrollTop;
    const above = Math.floor(at / height);
    const first = Math.max(0, Math.min(above, this.items.length) - OVERSCAN);
    const last = Math.min(this.items.length, above + Math.ceil(this.place.clientHeight / height) + OVERSCAN);
    const focused = this.body.contains(document.activeElement) ? this.active : null;
    this.window(first, last);
    this.top.style.height = `${first * height}px`;
    this.bottom.style.height = `${(this.items.length - last) * height}px`;
    this.rove(above);
    // A row that was drawn anew, or moved, has lost the focus on the way.
    if (focused === null) return;
    if (!this.body.contains(document.activeElement)) this.focus(focused);
    // Removing the focused row makes the browser lay out a table that is too short for a moment.
    if (this.place.scrollTop !== at) this.place.scrollTop = at;
  }

  /** The height is the style sheet's, so that a phone may have a larger one. */
  rowHeight() {
    return Number.parseFloat(getComputedStyle(this.place).getPropertyValue("--row-px"));
  }

  /** Puts exactly the rows from `first` to `last` between the two spaces, and touches no other. */
  window(first, last) {
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.key(this.items[index]), index);
    for (const [key, { row, item }] of this.made) {
      const index = wanted.get(key);
      if (index !== undefined && this.items[index] === item) continue;
      row.remove();
      this.made.delete(key);
    }
    let next = this.top.nextSibling;
    for (const [key, index] of wanted) {
      const row = this.made.get(key)?.row ?? this.row(key, this.items[index]);
      row.setAttribute("aria-rowindex", index + 2);
      if (row === next) next = next.nextSibling;
      else this.body.insertBefore(row, next);
    }
  }

  row(key, item) {
    const contents = this.draw(item);
    const cells = this.columns.map(({ name }, column) =>
      element("td", { role: "cell", class: `cell ${name}` }, ...[contents[column]].flat()));
    const row = element("tr", { role: "row", class: contents.class }, ...cells);
    row.dataset.key = key;
    this.made.set(key, { row, item });
    return row;
  }

  /** One row at a time is a stop of the Tab key: thousands would be a trap. */
  rove(above) {
    const stops = [...this.made].map(([key, { row }]) => [key, row.querySelector("[data-stop]")]);
    const visible = this.items[Math.min(above, this.items.length - 1)];
    const current = this.made.has(this.active) ? this.active : visible && this.key(visible);
    for (const [key, stop] of stops) if (stop) stop.tabIndex = key === current ? 0 : -1;
  }

  stop(row) {
    if (!row?.dataset.key) return;
    this.active = row.dataset.key;
    this.rove(0);
  }

  move(event) {
    const page = Math.max(1, Math.floor(this.place.clientHeight / this.rowHeight()) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const from = this.items.findIndex((item) => this.key(item) === this.active);
    const to = Math.max(0, Math.min(this.items.length - 1, from + step));
    this.reveal(to);
    this.focus(this.key(this.items[to]));
  }

  reveal(index) {
    const height = this.rowHeight();
    const head = this.table.tHead.offsetHeight;
    const [start, end] = [index * height, (index + 1) * height + head];
    if (start < this.place.scrollTop) this.place.scrollTop = start;
    else if (end > this.place.scrollTop + this.place.clientHeight) this.place.scrollTop = end - this.place.clientHeight;
    this.drawNow();
  }

  focus(key) {
    this.made.get(key)?.row.querySelector("[data-stop]")?.focus({ preventScroll: true });
  }
}

/** Orders texts as a reader would, absent ones last; numbers by size. */
const COLLATOR = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
export const byText = (of) => (a, b) => COLLATOR.compare(of(a) ?? "\uffff", of(b) ?? "\uffff");
export const byNumber = (of) => (a, b) => (of(a) ?? -1) - (of(b) ?? -1);
