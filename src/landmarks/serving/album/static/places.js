/** A field for the name of a place that completes what is typed over the gazetteer and what was learned. */

import { ApiError, get } from "./api.js";
import { el } from "./shared/dom.js";

const PAUSE = 120; // milliseconds without a key after which names are asked for

/**
 * Return {field, input}: `chosen(place)` is called for a place of the list. `fresh(text)`, if given, returns the label
 * of a last entry for what is in no list, which calls `chosen({ fresh: text })`.
 */
export function placeField(label, { chosen, fresh }) {
  const input = el("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: false, "aria-label": label, placeholder: label,
    "aria-expanded": "false", "aria-controls": "places", "aria-autocomplete": "list",
  });
  const list = el("ul", { id: "places", class: "places", role: "listbox", "aria-label": "Places", hidden: true });
  let options = [];
  let at = -1;
  let asked = 0;
  let timer = 0;

  const show = (places) => {
    const text = input.value.trim();
    const known = places.some(({ name }) => name.toLowerCase() === text.toLowerCase());
    options = fresh && text && !known ? [...places, { fresh: text }] : places;
    at = options.length ? 0 : -1;
    list.replaceChildren(...options.map((place, index) => option(place, index)));
    list.hidden = !options.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark();
  };
  const option = (place, index) => {
    const where = [place.kind, place.city, place.country].filter((part) => part && part !== place.name).join(", ");
    const content = place.fresh
      ? [el("strong", {}, fresh(place.fresh))]
      : [el("strong", {}, place.name), el("span", { class: "quiet" }, place.learned ? "you taught it" : where)];
    return el("li", {
      role: "option", id: `place-${index}`, "aria-selected": "false", onclick: () => choose(index),
      onmousedown: (event) => event.preventDefault(), // the field keeps the focus
    }, ...content);
  };
  const mark = () => {
    [...list.children].forEach((child, index) => child.setAttribute("aria-selected", String(index === at)));
    if (at >= 0) input.setAttribute("aria-activedescendant", `place-${at}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  const choose = (index) => {
    const place = options[index];
    show([]);
    list.hidden = true;
    chosen(place);
  };
  const ask = async () => {
    const text = input.value.trim();
    const mine = ++asked;
    if (!text) {
      show([]);
      return;
    }
    try {
      const found = await get(`places?q=${encodeURIComponent(text)}&limit=8`);
      if (mine === asked) show(found);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine === asked) show([]);
    }
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (moves[event.key] && options.length) {
      event.preventDefault();
      at = (at + moves[event.key] + options.length) % options.length;
      mark();
    } else if (event.key === "Enter" && !list.hidden && at >= 0) {
      event.preventDefault();
      choose(at);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault(); // the first Esc closes the list, the second the dialog
      list.hidden = true;
      input.setAttribute("aria-expanded", "false");
    }
  });
  return { field: el("div", { class: "place" }, input, list), input };
}
