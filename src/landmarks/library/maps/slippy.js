/**
 * A map of the world that moves under the hand: land, grid, towns, and pins that part as one comes closer.
 * It needs no network. `landmarks map` puts it into its page, the album of `landmarks open` loads it as a module.
 */

const UNIT = 1000; // of the outline, for the width of the world
const CLOSE = 60 * 360; // pixels for the width of the world from which on the outline is too coarse
const FARTHEST = 2 ** 30;
const CLUSTER = 44; // pixels between the middles of two pins
const ROWS = 4096; // more than there are rows of such cells on any screen
const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]; // degrees between lines
const STILL = 4; // pixels that a click may move

/** Web Mercator, with the world from 0 to 1. */
export const project = (latitude, longitude) => {
  const sine = Math.sin((Math.max(-85, Math.min(85, latitude)) * Math.PI) / 180);
  return [longitude / 360 + 0.5, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
};
const unproject = (x, y) => [(Math.atan(Math.sinh((0.5 - y) * 2 * Math.PI)) * 180) / Math.PI, (x - 0.5) * 360];

const drawn = (name, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};
const made = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

/** The outline is a path in tenths of degrees, each ring a start and steps. */
const outline = (land) => {
  const rings = land.path.split("M").slice(1).map((ring) => {
    const [start, steps] = ring.replace("z", "").split("l").map((part) => part.match(/-?\d+/g).map(Number));
    let [x, y] = start;
    const points = [[x, y]];
    for (let i = 0; i < steps.length; i += 2) points.push([(x += steps[i]), (y += steps[i + 1])]);
    return points.map(([right, down]) =>
      project(land.north - down / 10, land.west + right / 10).map((v) => (v * UNIT).toFixed(2)).join(" "),
    );
  });
  return rings.map((points) => `M${points.join("L")}z`).join("");
};

export class SlippyMap {
  view = { x: 0.5, y: 0.5, size: 256 }; // the middle of the map, and the width of the world in pixels
  towns = []; // [name, latitude, longitude], the largest first
  items = []; // what has pins: objects with a `point`, made by `project`
  #element;
  #look;
  #events;
  #parts = { land: drawn("path", { class: "land" }), grid: drawn("g", { class: "grid" }), towns: drawn("g", { class: "towns" }) };
  #pins = made("div", { className: "pins" });
  #frame = 0;
  #fitted = null; // what is shown as a whole, until the map is moved
  #scale = made("p", { className: "scale", ariaHidden: "true" }, made("span", {}));

  /**
   * `look(items)` returns {key, text, name, className, pressed} of a pin; `events` may have
   * `chosen(items)` for a pin, `picked(latitude, longitude)` for a click beside the pins, `moved()` after each drawing.
   */
  constructor(element, land, look, events) {
    this.#element = element;
    this.#look = look;
    this.#events = events;
    element.classList.add("slippy");
    element.tabIndex = 0;
    this.#parts.land.setAttribute("d", outline(land));
    const ground = drawn("svg", { class: "ground", "aria-hidden": "true" });
    ground.append(this.#parts.land, this.#parts.grid, this.#parts.towns);
    element.prepend(ground, this.#pins, this.#tools(), this.#scale);
    this.#follow();
  }

  /** Zoom by a factor around a point of the map in pixels, by default its middle. */
  zoom(factor, x = this.#element.clientWidth / 2, y = this.#element.clientHeight / 2) {
    const { view } = this;
    this.#fitted = null;
    const size = Math.max(128, Math.min(FARTHEST, view.size * factor));
    const [right, down] = [x - this.#element.clientWidth / 2, y - this.#element.clientHeight / 2];
    view.x += right / view.size - right / size;
    view.y += down / view.size - down / size;
    view.size = size;
    this.move(0, 0);
  }

  move(right, down) {
    this.#fitted = null;
    this.view.x = Math.max(0, Math.min(1, this.view.x + right / this.view.size));
    this.view.y = Math.max(0, Math.min(1, this.view.y + down / this.view.size));
    // A finger moves more often than the screen shows.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.draw();
    });
  }

  /** Show these as large as possible, but never closer than a few hundred metres; without any, the whole world. */
  fit(items) {
    this.#fitted = items;
    if (!items.length) this.view = { x: 0.5, y: 0.42, size: Math.max(256, this.#element.clientWidth) };
    else {
      let [left, right, top, bottom] = [1, 0, 1, 0];
      for (const { point: [x, y] } of items) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
      const wide = (this.#element.clientWidth - 120) / Math.max(right - left, 1e-6);
      const high = (this.#element.clientHeight - 120) / Math.max(bottom - top, 1e-6);
      this.view = { x: (left + right) / 2, y: (top + bottom) / 2, size: Math.max(128, Math.min(2 ** 24, wide, high)) };
    }
    this.draw();
  }

  /** The edges of what is shown, in degrees. */
  get bounds() {
    const [width, height] = [this.#element.clientWidth, this.#element.clientHeight];
    const { x, y, size } = this.view;
    const [north, west] = unproject(x - width / 2 / size, y - height / 2 / size);
    const [south, east] = unproject(x + width / 2 / size, y + height / 2 / size);
    return { north, west, south, east };
  }

  draw() {
    if (!this.#element.clientWidth) return;
    const close = this.view.size > CLOSE;
    this.#element.classList.toggle("close", close);
    if (!close) {
      const [x, y] = this.#place([0, 0]);
      this.#parts.land.setAttribute("transform", `translate(${x} ${y}) scale(${this.view.size / UNIT})`);
    }
    const found = this.#clusters();
    this.#drawGrid();
    this.#drawTowns(found);
    this.#drawPins(found);
    this.#drawScale();
    this.#events.moved?.();
  }

  #tools() {
    const button = (text, label, click) => {
      const one = made("button", { type: "button", ariaLabel: label ?? text }, text);
      one.addEventListener("click", click);
      return one;
    };
    return made(
      "div", { className: "tools" },
      button("+", "Zoom in", () => this.zoom(2)),
      button("−", "Zoom out", () => this.zoom(0.5)),
      button("All", null, () => (this.#events.all ? this.#events.all() : this.fit(this.items))),
    );
  }

  #place([x, y]) {
    return [
      (x - this.view.x) * this.view.size + this.#element.clientWidth / 2,
      (y - this.view.y) * this.view.size + this.#element.clientHeight / 2,
    ];
  }

  #visible([x, y], margin) {
    const { clientWidth, clientHeight } = this.#element;
    return x > -margin && y > -margin && x < clientWidth + margin && y < clientHeight + margin;
  }

  #drawGrid() {
    const { clientWidth: width, clientHeight: height } = this.#element;
    const { north, west, south, east } = this.bounds;
    const least = (90 * 360) / this.view.size; // lines at least 90 pixels apart
    const by = STEPS.findLast((one) => one >= least) ?? 45;
    const digits = Math.max(0, Math.ceil(-Math.log10(by)));
    const said = (value, letters) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? letters[1] : letters[0]}`;
    const lines = [];
    for (let value = Math.ceil(west / by) * by; value <= east; value += by) {
      const [x] = this.#place(project(0, value));
      lines.push(drawn("line", { x1: x, x2: x, y1: 0, y2: height }), drawn("text", { x: x + 3, y: 12 }, said(value, "EW")));
    }
    for (let value = Math.ceil(south / by) * by; value <= north; value += by) {
      const [, y] = this.#place(project(value, 0));
      lines.push(drawn("line", { x1: 0, x2: width, y1: y, y2: y }), drawn("text", { x: 3, y: y - 3 }, said(value, "NS")));
    }
    this.#parts.grid.replaceChildren(...lines);
  }

  /** Names of towns, the largest first, wherever there is room beside the pins. */
  #drawTowns(found) {
    const taken = found.map(({ x, y }) => [x - 20, y - 20, x + 20, y + 20]);
    const shown = [];
    for (const [name, latitude, longitude] of this.towns) {
      const [x, y] = this.#place(project(latitude, longitude));
      const box = [x, y - 10, x + 12 + name.length * 7, y + 8];
      const overlaps = (o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3];
      if (!this.#visible([x, y], 0) || taken.some(overlaps)) continue;
      taken.push(box);
      shown.push(drawn("circle", { cx: x, cy: y, r: 2.5 }), drawn("text", { x: x + 6, y: y + 4 }, name));
      if (shown.length === 80) break;
    }
    this.#parts.towns.replaceChildren(...shown);
  }

  /** Items whose pins would overlap, together. */
  #clusters() {
    // Plain numbers: a library of 20,000 photos is gone through at every move.
    const { clientWidth, clientHeight } = this.#element;
    const { size } = this.view;
    const left = clientWidth / 2 - this.view.x * size;
    const top = clientHeight / 2 - this.view.y * size;
    const found = [];
    const cells = new Map();
    for (const item of this.items) {
      const x = item.point[0] * size + left;
      const y = item.point[1] * size + top;
      if (x < -100 || y < -100 || x > clientWidth + 100 || y > clientHeight + 100) continue;
      const cell = Math.floor(x / CLUSTER) * ROWS + Math.floor(y / CLUSTER);
      const near = this.#near(cells, cell, x, y);
      if (near) {
        near.items.push(item);
        continue;
      }
      const one = { x, y, items: [item] };
      found.push(one);
      if (cells.has(cell)) cells.get(cell).push(one);
      else cells.set(cell, [one]);
    }
    return found;
  }

  #near(cells, cell, x, y) {
    for (let column = -ROWS; column <= ROWS; column += ROWS) {
      for (let row = -1; row <= 1; row += 1) {
        for (const one of cells.get(cell + column + row) ?? []) {
          if ((one.x - x) ** 2 + (one.y - y) ** 2 < CLUSTER ** 2) return one;
        }
      }
    }
    return null;
  }

  #drawPins(found) {
    const focused = this.#pins.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const pins = found.map(({ x, y, items }) => {
      const { key, text, name, className = "", pressed } = this.#look(items);
      const pin = made("button", { type: "button", className: `${items.length > 1 ? "several" : ""} ${className}` }, text);
      pin.title = name;
      pin.dataset.key = key;
      pin.setAttribute("aria-label", name);
      pin.setAttribute("aria-pressed", String(Boolean(pressed)));
      pin.style.left = `${x}px`;
      pin.style.top = `${y}px`;
      pin.addEventListener("click", () => this.#events.chosen?.(items));
      return pin;
    });
    this.#pins.replaceChildren(...pins);
    if (focused !== undefined) pins.find((pin) => pin.dataset.key === focused)?.focus();
  }

  #drawScale() {
    const [latitude] = unproject(this.view.x, this.view.y);
    const perPixel = (40075.017 * Math.cos((latitude * Math.PI) / 180)) / this.view.size;
    const power = 10 ** Math.floor(Math.log10(perPixel * 120));
    const length = [5, 2, 1].map((one) => one * power).find((one) => one <= perPixel * 120);
    this.#scale.style.width = `${length / perPixel}px`;
    this.#scale.firstElementChild.textContent = length < 1 ? `${Math.round(length * 1000)} m` : `${length} km`;
  }

  #follow() {
    const map = this.#element;
    const pointers = new Map();
    let moved = 0;
    const apart = () => {
      const [a, b] = [...pointers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    map.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (pointers.size === 1) moved = 0;
    });
    map.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      map.setPointerCapture(event.pointerId);
      map.classList.add("moved");
      const before = pointers.size === 2 ? apart() : 0;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      moved += Math.hypot(last[0] - event.clientX, last[1] - event.clientY);
      if (before) this.zoom(apart() / before);
      else this.move(last[0] - event.clientX, last[1] - event.clientY);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      map.addEventListener(name, (event) => {
        if (pointers.delete(event.pointerId) && name === "pointerup" && moved < STILL) this.#pick(event);
        map.classList.remove("moved");
      });
    }
    map.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = map.getBoundingClientRect();
      this.zoom(2 ** (-event.deltaY / 200), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    map.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => (this.#fitted ? this.fit(this.#fitted) : this.draw())).observe(map);
  }

  #pick(event) {
    const box = this.#element.getBoundingClientRect();
    const { x, y, size } = this.view;
    const right = x + (event.clientX - box.left - box.width / 2) / size;
    const down = y + (event.clientY - box.top - box.height / 2) / size;
    if (right >= 0 && right <= 1 && down >= 0 && down <= 1) this.#events.picked?.(...unproject(right, down));
  }

  #key(event) {
    const keys = {
      ArrowLeft: () => this.move(-80, 0),
      ArrowRight: () => this.move(80, 0),
      ArrowUp: () => this.move(0, -80),
      ArrowDown: () => this.move(0, 80),
      "+": () => this.zoom(2),
      "-": () => this.zoom(0.5),
    };
    if (this.#events.picked && event.target === this.#element) {
      keys.Enter = () => this.#events.picked(...unproject(this.view.x, this.view.y)); // the middle
    }
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  }
}
