/** One photo, large: zoom with wheel, pinch, double click and keys, drag, and a heat map over it. */

import { heatmap, preview, thumbnail } from "./api.js";
import { el } from "./shared/dom.js";

const LARGEST = 12; // times the size that fits
const SWIPE = 60; // pixels
const STILL = 6; // pixels that a click may move

export class Stage extends EventTarget {
  #element;
  #film = el("div", { class: "film" });
  #image = el("img", { class: "photo", draggable: false });
  #heat = null;
  #view = { scale: 1, x: 0, y: 0 };

  /** Tells of "swipe" with `detail` 1 (to the next) or -1, and of "failed" if the photo cannot be shown. */
  constructor(element) {
    super();
    this.#element = element;
    this.#film.append(this.#image);
    element.append(this.#film);
    this.#follow();
  }

  /** Show a photo: its thumbnail at once, the larger picture when it is there. */
  show(row, words) {
    this.#view = { scale: 1, x: 0, y: 0 };
    this.#apply();
    this.#heat?.remove();
    this.#heat = null;
    const readable = row.state !== "unreadable";
    const src = readable ? thumbnail(row) : null;
    const image = el("img", { class: "photo", alt: words, draggable: false, src, hidden: !readable });
    this.#image.replaceWith(image);
    this.#image = image;
    if (!readable) return; // why is told beside it
    const large = new Image();
    large.src = preview(row);
    large.decode().then(
      () => { if (this.#image === image) image.src = large.src; },
      () => { if (this.#image === image) this.dispatchEvent(new Event("failed")); },
    );
  }

  /** Have the picture of a photo at hand that may come next. */
  prepare(row) {
    if (row && row.state !== "unreadable") new Image().src = preview(row);
  }

  /** Show or hide where the model looked; the promise is false if there is no heat map. */
  async heat(row) {
    if (this.#heat) {
      this.#heat.remove();
      this.#heat = null;
      return true;
    }
    const heat = el("img", { class: "heat", alt: "", draggable: false, src: heatmap(row) });
    this.#heat = heat;
    try {
      await heat.decode();
    } catch {
      if (this.#heat === heat) this.#heat = null;
      return false;
    }
    if (this.#heat === heat) this.#film.append(heat);
    return true;
  }

  get heated() {
    return this.#heat !== null;
  }

  /** Zoom by a factor around a point of the window, by default the middle of the stage. */
  zoom(factor, clientX, clientY) {
    const box = this.#element.getBoundingClientRect();
    const view = this.#view;
    const scale = Math.max(1, Math.min(LARGEST, view.scale * factor));
    const right = (clientX ?? box.left + box.width / 2) - box.left - box.width / 2;
    const down = (clientY ?? box.top + box.height / 2) - box.top - box.height / 2;
    view.x = right - ((right - view.x) * scale) / view.scale;
    view.y = down - ((down - view.y) * scale) / view.scale;
    view.scale = scale;
    this.#apply();
  }

  /** Show the whole photo. */
  fit() {
    this.#view.scale = 1;
    this.#apply();
  }

  #apply() {
    const { clientWidth, clientHeight } = this.#element;
    const view = this.#view;
    const [wide, high] = [((view.scale - 1) * clientWidth) / 2, ((view.scale - 1) * clientHeight) / 2];
    view.x = Math.max(-wide, Math.min(wide, view.x));
    view.y = Math.max(-high, Math.min(high, view.y));
    this.#film.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    this.#element.classList.toggle("zoomed", view.scale > 1);
  }

  #follow() {
    const stage = this.#element;
    const pointers = new Map();
    let start = null;
    const apart = () => {
      const [a, b] = [...pointers.values()];
      return [Math.hypot(a.x - b.x, a.y - b.y), (a.x + b.x) / 2, (a.y + b.y) / 2];
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      start = pointers.size === 1 ? { x: event.clientX, y: event.clientY } : null;
    });
    stage.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const before = pointers.size === 2 ? apart() : null;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (before) {
        const [distance, x, y] = apart();
        this.zoom(distance / before[0], x, y);
      } else if (this.#view.scale > 1) {
        this.#view.x += event.clientX - last.x;
        this.#view.y += event.clientY - last.y;
        this.#apply();
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => {
        pointers.delete(event.pointerId);
        if (start && name === "pointerup" && this.#view.scale === 1) {
          const right = event.clientX - start.x;
          if (Math.abs(right) > SWIPE && Math.abs(right) > 2 * Math.abs(event.clientY - start.y)) {
            this.dispatchEvent(new CustomEvent("swipe", { detail: right < 0 ? 1 : -1 }));
          }
        }
        if (start && Math.hypot(event.clientX - start.x, event.clientY - start.y) > STILL) start = null;
      });
    }
    stage.addEventListener("dblclick", (event) => {
      if (event.target.closest("button")) return;
      if (this.#view.scale > 1) this.fit();
      else this.zoom(3, event.clientX, event.clientY);
    });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 300), event.clientX, event.clientY);
    }, { passive: false });
  }
}
