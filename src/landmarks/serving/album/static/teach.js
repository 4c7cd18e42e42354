/** Teach: some photos, a name, and, if one likes, where it is. */

import { thumbnail } from "./api.js";
import { choices, dialog } from "./dialogs.js";
import { el } from "./shared/dom.js";
import { placeField } from "./places.js";
import { project, SlippyMap } from "./shared/slippy.js";
import { followTowns } from "./towns.js";
import { degrees, photos } from "./words.js";

const STRIP = 12; // photos that are shown
const ENOUGH = 5; // photos below which a landmark is learned badly

const MAP = "Map: click where it is, or move with the arrow keys and press Enter for the middle";
const NOWHERE = "Without a position: photos get the name alone. Click on the map to set one.";

/** Ask for name and position; returns {name, position} or null. `land` is the outline for the map. */
export function askTeach(rows, land, given = "") {
  return dialog(`Teach from ${photos(rows.length)}`, (close) => {
    let position = middle(rows);
    const name = el("input", { type: "text", id: "teach-name", value: given, required: true, maxLength: 120, autocomplete: "off" });
    const where = el("p", { class: "quiet", role: "status" });
    const box = el("div", { class: "teach-map", role: "application", "aria-label": MAP });
    const none = el("button", { type: "button", onclick: () => put(null) }, "No position");
    const { field } = placeField("Find a place on the map", { chosen: (place) => go(place) });
    const form = el(
      "form", { method: "dialog", class: "teach" },
      el("div", { class: "strip" }, ...rows.slice(0, STRIP).map((row) => el("img", { src: thumbnail(row), alt: row.name })),
        rows.length > STRIP ? el("span", {}, `+ ${rows.length - STRIP}`) : null),
      rows.length < ENOUGH ? el("p", { class: "quiet" }, "Five or more photos, from different sides, work better.") : null,
      el("label", { for: "teach-name" }, "Name"), name,
      el("div", { class: "row" }, field, none), box, where,
      choices("Teach", close, true),
    );
    const map = new SlippyMap(box, land, () => ({ key: "here", text: "", name: "Here" }), {
      picked: (latitude, longitude) => put([latitude, longitude]),
      moved: () => followTowns(map),
    });
    const put = (found) => {
      position = found;
      map.items = found ? [{ point: project(...found) }] : [];
      where.textContent = found ? `At ${degrees(...found)}.` : NOWHERE;
      map.draw();
    };
    const go = ({ latitude, longitude }) => {
      if (typeof latitude !== "number") return;
      put([latitude, longitude]);
      map.fit(map.items);
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      if (name.value.trim()) close({ name: name.value.trim(), position });
    };
    put(position);
    requestAnimationFrame(() => map.fit(map.items));
    return [form];
  }, "wide");
}

/** The middle of the positions that photos have, or null. */
function middle(rows) {
  const placed = rows.filter(({ latitude, position }) => latitude !== null && position !== "landmark");
  if (!placed.length) return null;
  const by = (field) => placed.map((row) => row[field]).sort((one, other) => one - other)[placed.length >> 1];
  return [by("latitude"), by("longitude")];
}
