"use strict";
// A grid of any number of cards, of which only those near the window exist.
//
//   const grid = new report.Grid(scroller, (row, position) => card);   // a link
//   grid.show(order, 168, 190);                                       // rows, and a card's least width and height

report.Grid = class {
  constructor(scroller, make) {
    this.scroller = scroller;
    this.make = make;
    this.order = new Uint32Array(0);
    this.cards = new Map(); // position -> element
    this.focused = 0;
    this.body = report.el("div", { class: "grid", role: "list", "aria-label": "Models" });
    scroller.append(this.body);
    scroller.addEventListener("scroll", () => this.plan(), { passive: true });
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("focusin", (event) => this.remember(event));
    new ResizeObserver(() => this.plan()).observe(scroller);
  }

  show(order, width, height) {
    this.order = order;
    this.least = width;
    this.height = height;
    this.focused = 0;
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.scroller.scrollTop = 0;
    this.draw();
  }

  plan() {
    this.planned ??= requestAnimationFrame(() => { this.planned = null; this.draw(); });
  }

  draw() {
    const width = this.body.clientWidth;
    if (!width || !this.least) return;
    this.across = Math.max(1, Math.floor(width / this.least));
    const lines = Math.ceil(this.order.length / this.across);
    this.body.style.height = `${lines * this.height}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / this.height) - 2);
    const last = Math.min(lines, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / this.height) + 2);
    const [begin, end] = [first * this.across, Math.min(last * this.across, this.order.length)];
    const active = this.body.contains(document.activeElement) ? this.focused : -1;
    for (const [position, card] of this.cards) {
      if ((position < begin || position >= end) && position !== active) { card.remove(); this.cards.delete(position); }
    }
    for (let position = begin; position < end; position++) this.place(position, width / this.across);
    if (active >= 0) this.place(active, width / this.across);
    if (!this.cards.has(this.focused) && end > begin) this.mark(begin);
  }

  place(position, width) {
    let card = this.cards.get(position);
    if (!card) {
      card = report.el("div", { role: "listitem", class: "cell", "aria-setsize": this.order.length, "aria-posinset": position + 1 },
        this.make(this.order[position], position));
      card.dataset.position = position;
      card.firstChild.tabIndex = position === this.focused ? 0 : -1;
      this.cards.set(position, card);
      const next = [...this.cards.keys()].filter((other) => other > position).sort((a, b) => a - b)[0];
      this.body.insertBefore(card, this.cards.get(next) ?? null); // screen readers follow the order
    }
    const [x, y] = [(position % this.across) * width, Math.floor(position / this.across) * this.height];
    card.style.transform = `translate(${x}px, ${y}px)`;
    card.style.width = `${width}px`;
    card.style.height = `${this.height}px`;
  }

  // One card is in the tab order; the arrows move on from there.
  mark(position) {
    const before = this.cards.get(this.focused);
    if (before) before.firstChild.tabIndex = -1;
    this.focused = position;
    const card = this.cards.get(position);
    if (card) card.firstChild.tabIndex = 0;
  }

  remember(event) {
    const cell = event.target.closest(".cell");
    if (cell) this.mark(Number(cell.dataset.position));
  }

  key(event) {
    const page = this.across * Math.max(1, Math.floor(this.scroller.clientHeight / this.height));
    const last = this.order.length - 1;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.across, ArrowDown: this.across,
      PageUp: -page, PageDown: page, Home: -last, End: last,
    };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.focus(Math.min(last, Math.max(0, this.focused + steps[event.key])));
  }

  focus(position) {
    const top = Math.floor(position / this.across) * this.height;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.scroller.scrollTop = top + this.height - clientHeight;
    this.mark(position);
    this.draw();
    this.place(position, this.body.clientWidth / this.across);
    this.cards.get(position).firstChild.tabIndex = 0;
    this.cards.get(position).firstChild.focus({ preventScroll: true });
  }
};
