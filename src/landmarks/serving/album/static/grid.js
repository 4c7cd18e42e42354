/** The sheet of photos. Only what can be seen is in the page, however many photos there are. */

import { bareCell, cell, number, show } from "./cell.js";
import { el } from "./shared/dom.js";
import { icon } from "./icons.js";
import { Layout } from "./layout.js";
import { photos } from "./words.js";

const AHEAD = 400; // pixels above and below what is seen that are drawn too
const FAST = 0.25; // screens within a frame from which on pictures wait
const REST = 90; // milliseconds without a scroll after which they come
const SIZES = { gap: 8, heading: 44, caption: 26 };

export class Grid extends EventTarget {
  layout = new Layout([], { width: 1, cell: 1, ...SIZES });
  /** How far the sheet is scrolled, and how high what is seen of it is: asking the page costs a layout. */
  top = 0;
  height = 0;
  /** Index of each photo that is shown, by its id. */
  index = new Map();
  #scroller;
  #sheet;
  #list;
  #headings;
  #selection;
  #sections = [];
  #cell = 168;
  #width = 0;
  #cells = new Map(); // id -> {element, row, bare}
  #drawn = { frame: 0, rest: 0 };

  constructor(scroller, selection) {
    super();
    this.#scroller = scroller;
    this.#selection = selection;
    this.#headings = el("div", { class: "headings" });
    this.#list = el("div", {
      class: "cells", id: "cells", role: "listbox", tabIndex: 0, "aria-label": "Photos", "aria-multiselectable": "true",
    });
    this.#sheet = el("div", { class: "sheet" }, this.#headings, this.#list);
    scroller.append(this.#sheet);
    scroller.addEventListener("scroll", () => this.#soon(), { passive: true });
    selection.addEventListener("change", () => this.#mark());
    new ResizeObserver(() => this.#resize()).observe(scroller);
  }

  /** Show these sections from the top, or so that what is seen now stays where it is. */
  show(sections, fromTop) {
    const kept = fromTop ? null : this.#seen();
    this.#sections = sections;
    this.#arrange();
    if (fromTop) this.#scroller.scrollTop = 0;
    else if (kept && this.index.has(kept.id)) {
      this.#scroller.scrollTop = this.layout.place(this.index.get(kept.id))[1] - kept.below;
    }
    this.#selection.keep(this.index);
  }

  /** Let photos be at least this wide, in pixels. */
  set cell(width) {
    this.#cell = width;
    this.#arrange();
  }

  focus() {
    this.#list.focus({ preventScroll: true });
  }

  /** Photos of the section that a photo is in. */
  groupOf(id) {
    return this.layout.sections[this.layout.sectionOf(this.index.get(id))]?.rows ?? [];
  }

  /** Id of the photo so many columns or rows from the active one, or at an end. */
  neighbour({ columns = 0, rows = 0, end = null }) {
    const { order } = this.layout;
    if (!order.length) return null;
    const at = this.index.get(this.#selection.active);
    if (end !== null) return order.at(end).id;
    if (at === undefined) return order[this.layout.at(this.#scroller.scrollTop)].id;
    const next = rows ? this.layout.vertically(at, rows) : Math.max(0, Math.min(order.length - 1, at + columns));
    return order[next].id;
  }

  /** Scroll as little as shows a photo whole. */
  reveal(id) {
    const at = this.index.get(id);
    if (at === undefined) return;
    const [, top] = this.layout.place(at);
    const { scrollTop, clientHeight } = this.#scroller;
    const above = top - SIZES.heading;
    if (above < scrollTop) this.#scroller.scrollTop = Math.max(0, above);
    else if (top + this.layout.step > scrollTop + clientHeight) {
      this.#scroller.scrollTop = top + this.layout.step - clientHeight + SIZES.gap;
    }
    this.#draw();
  }

  /** A photo that is seen, preferably the active one, and how far below the edge it is. */
  #seen() {
    const { scrollTop, clientHeight } = this.#scroller;
    if (!scrollTop || !this.layout.order.length) return null;
    const active = this.index.get(this.#selection.active);
    const below = (at) => this.layout.place(at)[1] - scrollTop;
    const at = active !== undefined && below(active) > 0 && below(active) < clientHeight ? active : this.layout.at(scrollTop);
    return { id: this.layout.order[at].id, below: below(at) };
  }

  #resize() {
    this.height = this.#scroller.clientHeight;
    if (this.#room() !== this.#width) this.#arrange();
    else {
      this.#draw();
      this.dispatchEvent(new Event("arranged"));
    }
  }

  /** Pixels across for photos. */
  #room() {
    const style = getComputedStyle(this.#scroller);
    return this.#scroller.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  #arrange() {
    const width = this.#width = this.#room();
    if (width <= 0) return;
    const cell = Math.min(this.#cell, (width - 2 * SIZES.gap) / 3); // on a phone, at least three beside each other
    this.layout = new Layout(this.#sections, { width, cell, ...SIZES });
    this.index = new Map();
    this.layout.order.forEach(({ id }, at) => this.index.set(id, at));
    this.#sheet.style.height = `${this.layout.height}px`;
    this.#list.setAttribute("aria-label", photos(this.layout.order.length));
    this.#draw(true);
    this.dispatchEvent(new Event("arranged"));
  }

  #soon() {
    this.#drawn.frame ||= requestAnimationFrame(() => {
      this.#drawn.frame = 0;
      this.#draw();
      this.dispatchEvent(new Event("scrolled"));
    });
  }

  #draw(all = false) {
    const { scrollTop } = this.#scroller;
    const clientHeight = this.height;
    const hurried = Math.abs(scrollTop - this.top) > FAST * clientHeight && !all;
    this.top = scrollTop;
    const [first, last] = this.layout.between(scrollTop - AHEAD, scrollTop + clientHeight + AHEAD);
    const { order } = this.layout;
    const wanted = new Map();
    for (let at = first; at < last; at += 1) wanted.set(order[at].id, at);
    const active = this.index.get(this.#selection.active); // stays in the page: screen readers are on it
    if (active !== undefined) wanted.set(order[active].id, active);
    const images = new Map();
    for (const [id, { element, row, bare }] of this.#cells) {
      if (wanted.has(id) && order[wanted.get(id)] === row && (hurried || !bare)) continue;
      images.set(id, element.querySelector("img"));
      element.remove();
      this.#cells.delete(id);
    }
    const fresh = [];
    for (const [id, at] of wanted) {
      const known = this.#cells.get(id);
      const element = known?.element ?? (hurried ? bareCell(order[at]) : cell(order[at], at, order.length, images.get(id)));
      if (!known) {
        this.#cells.set(id, { element, row: order[at], bare: hurried });
        fresh.push(element);
      } else if (all && !known.bare) number(element, at, order.length);
      if (!known || all) this.#put(element, at);
      if (!hurried) show(element);
    }
    for (const [id, image] of images) if (!wanted.has(id)) image?.removeAttribute("src"); // lets its pixels go
    this.#list.append(...fresh);
    if (fresh.length || all) this.#mark();
    if (hurried) {
      clearTimeout(this.#drawn.rest);
      this.#drawn.rest = setTimeout(() => this.#draw(), REST);
    }
    this.#drawHeadings(scrollTop - AHEAD, scrollTop + clientHeight + AHEAD);
  }

  #put(element, at) {
    const [left, top] = this.layout.place(at);
    element.style.transform = `translate(${left}px, ${top}px)`;
    element.style.width = `${this.layout.size}px`;
    element.style.setProperty("--size", `${this.layout.size}px`);
  }

  #drawHeadings(top, bottom) {
    const { sections, tops } = this.layout;
    const shown = new Map([...this.#headings.children].map((child) => [child.dataset.key, child]));
    const wanted = [];
    for (let at = 0; at < sections.length; at += 1) {
      const { key, title, detail, rows } = sections[at];
      if (!title || tops[at] + SIZES.heading < top || tops[at] > bottom) continue;
      const stamp = `${key}|${title}|${detail}|${rows.length}`;
      const heading = shown.get(stamp) ?? this.#heading(stamp, title, detail, rows);
      heading.rows = rows;
      heading.style.transform = `translateY(${tops[at]}px)`;
      wanted.push(heading);
      shown.delete(stamp);
    }
    for (const old of shown.values()) old.remove();
    for (const heading of wanted) if (!heading.isConnected) this.#headings.append(heading);
  }

  #heading(stamp, title, detail, rows) {
    const label = `Select ${photos(rows.length)}: ${title}`;
    const onclick = () => this.#selection.toggleAll(heading.rows.map(({ id }) => id));
    const button = el("button", { type: "button", class: "pick", "aria-label": label, onclick }, icon("check"));
    const heading = el(
      "div", { class: "heading", "data-key": stamp },
      el("h2", {}, title), el("span", { class: "quiet" }, [detail, photos(rows.length)].filter(Boolean).join(" · ")), button,
    );
    return heading;
  }

  #mark() {
    const { ids, active } = this.#selection;
    for (const [id, { element }] of this.#cells) {
      element.setAttribute("aria-selected", String(ids.has(id)));
      element.classList.toggle("active", id === active);
    }
    this.#list.classList.toggle("choosing", ids.size > 0);
    if (this.#cells.has(active)) this.#list.setAttribute("aria-activedescendant", `photo-${active}`);
    else this.#list.removeAttribute("aria-activedescendant");
  }
}
