/** The map: the land of Natural Earth, a dot for each landmark that the model knows, a pin for each one found. */

import { oncePerFrame, svg } from "./dom.js";
import { tagsOf } from "./photos.js";

const SCALE = 10; // units of the outline for a degree
const REACH = 150; // units of the outline within which a click means a pin

export class WorldMap {
  #land;
  #pins = svg("g");
  #known = svg("g", { "aria-hidden": "true" });
  #photos;
  #chosen;
  #text;

  /** `chosen(photo)` is called when a pin is used. */
  constructor(place, text, photos, land, chosen) {
    this.#land = land;
    this.#photos = photos;
    this.#chosen = chosen;
    this.#text = text;
    const width = (land.east - land.west) * SCALE;
    const height = (land.north - land.south) * SCALE;
    const box = { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Map of the landmarks that were found" };
    const drawing = svg("svg", box, svg("path", { class: "land", d: land.path }), this.#known, this.#pins);
    // Pins may lie under each other, and are small for a finger: the nearest is meant.
    drawing.addEventListener("click", (event) => this.#nearest(drawing, event)?.dispatchEvent(new Event("choose")));
    place.append(drawing);
    photos.onChange(oncePerFrame(() => this.#draw()));
    this.#draw(); // photos may have come before the map
  }

  /** Show where the landmarks lie that the model knows. */
  showKnown(features) {
    const dots = features.filter((feature) => feature.geometry).map((feature) => {
      const [x, y] = this.#point(feature.geometry.coordinates);
      return svg("circle", { class: "known", cx: x, cy: y, r: 11 });
    });
    this.#known.replaceChildren(...dots);
  }

  /** Light the pin of a photo, or none. */
  light(photo) {
    for (const pin of this.#pins.children) {
      pin.classList.toggle("lit", Boolean(photo) && pin.dataset.ids.split(" ").includes(String(photo.id)));
    }
  }

  #nearest(drawing, event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const far = (pin) => Math.hypot(Number(pin.dataset.x) - x, Number(pin.dataset.y) - y);
    const [pin] = [...this.#pins.children].sort((one, other) => far(one) - far(other));
    return pin && far(pin) <= REACH ? pin : null;
  }

  #point([longitude, latitude]) {
    return [(longitude - this.#land.west) * SCALE, (this.#land.north - latitude) * SCALE];
  }

  #draw() {
    const found = new Map();
    for (const photo of this.#photos.all()) {
      if (photo.verdict === "rejected") continue;
      for (const { name, place } of tagsOf(photo)) {
        if (typeof place?.latitude !== "number") continue;
        const entry = found.get(name) ?? { name, place, photos: [] };
        entry.photos.push(photo);
        found.set(name, entry);
      }
    }
    const same = [...found.values()].map((entry) => [entry.name, ...entry.photos.map(({ id }) => id)].join()).join(";");
    if (same === this.#pins.dataset.shows) return;
    this.#pins.dataset.shows = same;
    const held = this.#pins.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const pins = [...found.values()].map((entry) => this.#pin(entry));
    this.#pins.replaceChildren(...pins);
    if (held) pins.find(({ dataset: { name } }) => name === held)?.focus({ preventScroll: true });
    const names = [...found.keys()];
    this.#text.textContent = names.length
      ? `On the map: ${names.join(", ")}`
      : "Dots are the landmarks that this model knows.";
  }

  #pin({ name, place, photos }) {
    const [x, y] = this.#point([place.longitude, place.latitude]);
    const count = photos.length === 1 ? "1 photo" : `${photos.length} photos`;
    const pin = svg(
      "g",
      { class: "pin", role: "button", tabindex: 0, "aria-label": `${name}: ${count}` },
      svg("title", {}, `${name}: ${count}`),
      svg("circle", { class: "halo", cx: x, cy: y, r: 90 }),
      svg("circle", { cx: x, cy: y, r: 32 }),
    );
    pin.dataset.name = name;
    pin.dataset.ids = photos.map((photo) => photo.id).join(" ");
    [pin.dataset.x, pin.dataset.y] = [x, y];
    pin.addEventListener("choose", () => this.#chosen(photos[0]));
    pin.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.#chosen(photos[0]);
    });
    return pin;
  }
}
