/** The map of what is shown: pins part as one comes closer, and open their photos. */

import { nearButton } from "./near.js";
import { byId } from "./shared/dom.js";
import { project, SlippyMap } from "./shared/slippy.js";
import { followTowns } from "./towns.js";
import { named, number, photos, sentence } from "./words.js";

const STRIP = 24; // photos of a pin that are shown

export class MapView {
  #map;
  #chosen = [];
  #actions;
  #fitted = false;

  /** `actions` are {show(rows) in the sheet, open(id, rows) large}. */
  constructor(land, actions) {
    this.#actions = actions;
    this.#map = new SlippyMap(byId("map"), land, (rows) => this.#look(rows), {
      chosen: (rows) => this.#choose(rows),
      moved: () => followTowns(this.#map),
    });
    byId("pin-show").onclick = () => actions.show(this.#chosen);
    byId("pin-closer").onclick = () => this.#map.fit(this.#chosen);
    byId("pin-close").onclick = () => this.#choose([]);
  }

  /** Show rows, from where the map was, or all of them the first time. */
  show(rows) {
    const placed = rows.filter(({ latitude }) => latitude !== null);
    for (const row of placed) row.point ??= project(row.latitude, row.longitude);
    this.#map.items = placed;
    const without = rows.length - placed.length;
    byId("map-text").textContent = [
      `${photos(placed.length)} on the map`,
      without ? `${number(without)} without a position` : "",
    ].filter(Boolean).join(", ");
    const ids = new Set(placed.map(({ id }) => id));
    this.#chosen = this.#chosen.filter(({ id }) => ids.has(id));
    this.#strip();
    if (this.#fitted || !placed.length) this.#map.draw();
    else this.#map.fit(placed);
    this.#fitted ||= placed.length > 0;
  }

  #look(rows) {
    const [first] = rows;
    const name = named(first) || first.name;
    const uncertain = rows.every(({ position }) => position !== "camera");
    return {
      key: first.id,
      text: rows.length > 1 ? number(rows.length) : "",
      name: `${rows.length > 1 ? `${name} and ${number(rows.length - 1)} more` : name}${uncertain ? ", not from the camera" : ""}`,
      className: uncertain ? "uncertain" : "",
      pressed: this.#chosen.length > 0 && this.#chosen.every((row) => rows.includes(row)),
    };
  }

  #choose(rows) {
    this.#chosen = rows;
    this.#strip();
    this.#map.draw();
  }

  #strip() {
    const rows = this.#chosen;
    byId("pin").hidden = rows.length === 0;
    if (!rows.length) return;
    byId("pin-text").textContent = `${photos(rows.length)} here`;
    const pictures = rows.slice(0, STRIP).map((row) => nearButton(row, sentence(row), () => this.#actions.open(row.id, rows)));
    byId("pin-photos").replaceChildren(...pictures);
  }
}
