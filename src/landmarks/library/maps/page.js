"use strict";
const { land, towns, photos } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const UNIT = 1000; // of the outline, for the width of the world
const CLOSE = 60 * 360; // pixels for the width of the world from which on the outline is too coarse
const FARTHEST = 2 ** 30;
const CLUSTER = 44; // pixels between the middles of two pins
const PAGE = 60; // photos that the list shows at once
const view = { x: 0.5, y: 0.5, size: 256 }; // the middle of the map, and the width of the world in pixels

/** Web Mercator, with the world from 0 to 1. */
const project = (latitude, longitude) => {
  const sine = Math.sin((Math.max(-85, Math.min(85, latitude)) * Math.PI) / 180);
  return [longitude / 360 + 0.5, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
};
const unproject = (x, y) => [(Math.atan(Math.sinh((0.5 - y) * 2 * Math.PI)) * 180) / Math.PI, (x - 0.5) * 360];

const svg = (name, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};
const html = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

/** The outline is a path in tenths of degrees, each ring a start and steps. */
function drawLand() {
  const rings = land.path.split("M").slice(1).map((ring) => {
    const [start, steps] = ring.replace("z", "").split("l").map((part) => part.match(/-?\d+/g).map(Number));
    let [x, y] = start;
    const points = [[x, y]];
    for (let i = 0; i < steps.length; i += 2) points.push([(x += steps[i]), (y += steps[i + 1])]);
    return points.map(([right, down]) =>
      project(land.north - down / 10, land.west + right / 10).map((v) => (v * UNIT).toFixed(2)).join(" "),
    );
  });
  $("land").setAttribute("d", rings.map((points) => `M${points.join("L")}z`).join(""));
}

const place = ([x, y]) => [
  (x - view.x) * view.size + $("map").clientWidth / 2,
  (y - view.y) * view.size + $("map").clientHeight / 2,
];
const visible = ([x, y], margin) =>
  x > -margin && y > -margin && x < $("map").clientWidth + margin && y < $("map").clientHeight + margin;

/** The step of the grid, in degrees, for lines at least 90 pixels apart. */
function step() {
  const least = (90 * 360) / view.size;
  return [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001].findLast((one) => one >= least) ?? 45;
}

function drawGrid() {
  const width = $("map").clientWidth;
  const height = $("map").clientHeight;
  const [north, west] = unproject(view.x - width / 2 / view.size, view.y - height / 2 / view.size);
  const [south, east] = unproject(view.x + width / 2 / view.size, view.y + height / 2 / view.size);
  const by = step();
  const digits = Math.max(0, Math.ceil(-Math.log10(by)));
  const said = (value, letters) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? letters[1] : letters[0]}`;
  const lines = [];
  for (let value = Math.ceil(west / by) * by; value <= east; value += by) {
    const [x] = place(project(0, value));
    lines.push(svg("line", { x1: x, x2: x, y1: 0, y2: height }), svg("text", { x: x + 3, y: 12 }, said(value, "EW")));
  }
  for (let value = Math.ceil(south / by) * by; value <= north; value += by) {
    const [, y] = place(project(value, 0));
    lines.push(svg("line", { x1: 0, x2: width, y1: y, y2: y }), svg("text", { x: 3, y: y - 3 }, said(value, "NS")));
  }
  $("grid").replaceChildren(...lines);
}

/** Names of towns, the largest first, wherever there is room beside the pins. */
function drawTowns(found) {
  const taken = found.map(({ x, y }) => [x - 20, y - 20, x + 20, y + 20]);
  const drawn = [];
  for (const [name, latitude, longitude] of towns) {
    const [x, y] = place(project(latitude, longitude));
    const box = [x, y - 10, x + 12 + name.length * 7, y + 8];
    if (!visible([x, y], 0) || taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) continue;
    taken.push(box);
    drawn.push(svg("circle", { cx: x, cy: y, r: 2.5 }), svg("text", { x: x + 6, y: y + 4 }, name));
    if (drawn.length === 80) break;
  }
  $("towns").replaceChildren(...drawn);
}

/** Photos whose pins would overlap, together. */
function clusters() {
  const found = [];
  const cells = new Map();
  for (const photo of photos) {
    const [x, y] = place(photo.point);
    if (!visible([x, y], 100)) continue;
    const column = Math.floor(x / CLUSTER);
    const row = Math.floor(y / CLUSTER);
    let near = null;
    for (let i = -1; i <= 1 && !near; i++) {
      for (let j = -1; j <= 1 && !near; j++) {
        near = (cells.get(`${column + i} ${row + j}`) ?? []).find((one) => Math.hypot(one.x - x, one.y - y) < CLUSTER);
      }
    }
    if (near) near.photos.push(photo);
    else {
      const one = { x, y, photos: [photo] };
      found.push(one);
      cells.set(`${column} ${row}`, [...(cells.get(`${column} ${row}`) ?? []), one]);
    }
  }
  return found;
}

let chosen = photos;
function drawPins(found) {
  const focused = document.activeElement?.dataset?.key;
  const pins = found.map((cluster) => {
    const count = cluster.photos.length;
    const name = cluster.photos[0].title;
    const pin = html("button", { type: "button", className: count > 1 ? "several" : "" }, count > 1 ? String(count) : "");
    pin.dataset.key = cluster.photos[0].index;
    pin.title = count > 1 ? `${name} and ${count - 1} more` : name;
    pin.setAttribute("aria-label", pin.title);
    pin.setAttribute("aria-pressed", chosen !== photos && chosen.every((photo) => cluster.photos.includes(photo)));
    pin.style.left = `${cluster.x}px`;
    pin.style.top = `${cluster.y}px`;
    pin.addEventListener("click", () => {
      choose(cluster.photos);
      if (count > 1) fit(cluster.photos);
      draw();
    });
    return pin;
  });
  $("pins").replaceChildren(...pins);
  if (focused !== undefined) pins.find((pin) => pin.dataset.key === focused)?.focus();
}

function drawScale() {
  const [latitude] = unproject(view.x, view.y);
  const perPixel = (40075.017 * Math.cos((latitude * Math.PI) / 180)) / view.size;
  const power = 10 ** Math.floor(Math.log10(perPixel * 120));
  const length = [5, 2, 1].map((one) => one * power).find((one) => one <= perPixel * 120);
  $("scale").style.width = `${length / perPixel}px`;
  $("scale").firstElementChild.textContent = length < 1 ? `${Math.round(length * 1000)} m` : `${length} km`;
}

function draw() {
  const close = view.size > CLOSE;
  $("map").classList.toggle("close", close);
  if (!close) {
    const [x, y] = place([0, 0]);
    $("land").setAttribute("transform", `translate(${x} ${y}) scale(${view.size / UNIT})`);
  }
  const found = clusters();
  drawGrid();
  drawTowns(found);
  drawPins(found);
  drawScale();
}

/** Zoom by a factor around a point of the map in pixels, by default its middle. */
function zoom(factor, x = $("map").clientWidth / 2, y = $("map").clientHeight / 2) {
  const size = Math.max(128, Math.min(FARTHEST, view.size * factor));
  const [right, down] = [x - $("map").clientWidth / 2, y - $("map").clientHeight / 2];
  view.x += right / view.size - right / size;
  view.y += down / view.size - down / size;
  view.size = size;
  move(0, 0);
}

function move(right, down) {
  view.x = Math.max(0, Math.min(1, view.x + right / view.size));
  view.y = Math.max(0, Math.min(1, view.y + down / view.size));
  draw();
}

/** Show these photos as large as possible, but never closer than a few hundred metres. */
function fit(some) {
  const xs = some.map(({ point }) => point[0]);
  const ys = some.map(({ point }) => point[1]);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  view.x = (left + right) / 2;
  view.y = (top + bottom) / 2;
  const wide = ($("map").clientWidth - 120) / Math.max(right - left, 1e-6);
  const high = ($("map").clientHeight - 120) / Math.max(bottom - top, 1e-6);
  view.size = Math.max(128, Math.min(2 ** 24, wide, high));
}

function choose(some) {
  chosen = some;
  const count = some.length === 1 ? "1 photo" : `${some.length} photos`;
  $("chosen").textContent = some === photos ? `All ${count}` : count;
  $("list").replaceChildren();
  more();
  $("photos").scrollTop = 0;
}

function more() {
  const shown = $("list").children.length;
  $("list").append(...chosen.slice(shown, shown + PAGE).map(item));
  $("more").hidden = $("list").children.length >= chosen.length;
}

function item(photo) {
  const picture = photo.thumbnail
    ? html("img", { src: photo.thumbnail, alt: "" })
    : html("span", { className: "none" });
  const where = photo.camera ? "" : "at the landmark, as the camera's position is unknown";
  const lines = [photo.tags.join("; "), photo.taken, where].filter(Boolean).map((text) => html("span", {}, text));
  const text = html("div", {}, html("strong", {}, photo.name), ...lines);
  return html("li", {}, html("a", { href: photo.href, target: "_blank", rel: "noopener" }, picture, text));
}

function follow() {
  const map = $("map");
  const pointers = new Map();
  const apart = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  map.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("button")) pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  map.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    map.setPointerCapture(event.pointerId);
    map.classList.add("moved");
    const before = pointers.size === 2 ? apart() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (before) zoom(apart() / before);
    else move(last[0] - event.clientX, last[1] - event.clientY);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    map.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      map.classList.remove("moved");
    });
  }
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = map.getBoundingClientRect();
    zoom(2 ** (-event.deltaY / 200), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  const keys = {
    ArrowLeft: () => move(-80, 0),
    ArrowRight: () => move(80, 0),
    ArrowUp: () => move(0, -80),
    ArrowDown: () => move(0, 80),
    "+": () => zoom(2),
    "-": () => zoom(0.5),
  };
  map.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(draw).observe(map);
}

function showAll() {
  choose(photos);
  fit(photos);
  draw();
}

photos.forEach((photo, index) => Object.assign(photo, { index, point: project(photo.latitude, photo.longitude) }));
$("count").textContent = photos.length === 1 ? "1 photo" : `${photos.length} photos`;
$("in").addEventListener("click", () => zoom(2));
$("out").addEventListener("click", () => zoom(0.5));
$("all").addEventListener("click", showAll);
$("more").addEventListener("click", more);
drawLand();
follow();
showAll();
