/** The bar at the right edge: drag it through the years, or, in another order, through the groups. */

import { el } from "./shared/dom.js";
import { month } from "./words.js";

const APART = 26; // pixels between two labels
const ROLE = {
  role: "slider", "aria-label": "Place in the library", "aria-orientation": "vertical",
  "aria-valuemin": 0, "aria-valuemax": 100, "aria-controls": "cells",
};

export class Scrubber {
  #bar;
  #scroller;
  #grid;
  #labels = el("div", { class: "labels", "aria-hidden": "true" });
  #thumb = el("span", { class: "thumb" });
  #bubble = el("span", { class: "bubble", hidden: true });
  #byTime = true;
  #high = 0;
  #text = null;

  constructor(bar, scroller, grid) {
    this.#bar = bar;
    this.#scroller = scroller;
    this.#grid = grid;
    for (const [name, value] of Object.entries(ROLE)) bar.setAttribute(name, value);
    bar.tabIndex = 0;
    bar.append(this.#labels, this.#thumb, this.#bubble);
    grid.addEventListener("arranged", () => this.#draw());
    grid.addEventListener("scrolled", () => this.#place());
    this.#follow();
  }

  /** `byTime` tells whether photos are in the order of time. */
  show(byTime) {
    this.#byTime = byTime;
    this.#draw();
  }

  get #room() {
    return this.#grid.layout.height - this.#grid.height;
  }

  #draw() {
    const { layout } = this.#grid;
    this.#bar.hidden = this.#room < this.#grid.height;
    if (this.#bar.hidden) return;
    const high = this.#bar.clientHeight;
    this.#high = high;
    this.#text = null;
    const labels = [];
    let last = "";
    // Years; groups have titles of their own, which are too long for the bar. As many are looked up as have room.
    for (let top = APART / 2; this.#byTime && top < high - APART / 2; top += APART) {
      const year = layout.order[layout.at((top / high) * layout.height)]?.taken?.slice(0, 4) ?? "";
      if (year && year !== last) {
        const label = el("span", {}, year);
        label.style.top = `${top}px`;
        labels.push(label);
      }
      last = year;
    }
    this.#labels.replaceChildren(...labels);
    this.#place();
  }

  #place() {
    if (this.#bar.hidden) return;
    const share = this.#room > 0 ? Math.min(1, this.#grid.top / this.#room) : 0;
    // Moved by transform, so that the page need not be laid out at each step.
    this.#thumb.style.transform = this.#bubble.style.transform = `translateY(${share * this.#high}px)`;
    const text = this.#where();
    if (text === this.#text) return;
    this.#text = this.#bubble.textContent = text;
    this.#bar.setAttribute("aria-valuenow", Math.round(share * 100));
    this.#bar.setAttribute("aria-valuetext", text || `${Math.round(share * 100)} %`);
  }

  #where() {
    const { layout } = this.#grid;
    if (!layout.order.length) return "";
    const index = layout.at(this.#grid.top + 1);
    const row = layout.order[index];
    if (this.#byTime) return Number.isNaN(row.time) ? "No date" : month(row.clock);
    return layout.sections[layout.sectionOf(index)].title || row.name;
  }

  #follow() {
    const go = (event) => {
      const box = this.#bar.getBoundingClientRect();
      this.#scroller.scrollTop = ((event.clientY - box.top) / box.height) * this.#room;
    };
    this.#bar.addEventListener("pointerdown", (event) => {
      this.#bar.setPointerCapture(event.pointerId);
      this.#bubble.hidden = false;
      go(event);
    });
    this.#bar.addEventListener("pointermove", (event) => {
      if (this.#bar.hasPointerCapture(event.pointerId)) go(event);
    });
    for (const name of ["pointerup", "pointercancel", "blur"]) {
      this.#bar.addEventListener(name, () => (this.#bubble.hidden = true));
    }
    this.#bar.addEventListener("keydown", (event) => {
      const high = this.#scroller.clientHeight;
      const steps = { ArrowDown: high / 2, ArrowUp: -high / 2, PageDown: high * 5, PageUp: -high * 5 };
      const by = { ...steps, Home: -Infinity, End: Infinity }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.#scroller.scrollTop = Math.max(0, Math.min(this.#room, this.#scroller.scrollTop + by));
    });
  }
}
