/** One photo of the sheet. */

import { thumbnail } from "./api.js";
import { el } from "./shared/dom.js";
import { icon } from "./icons.js";
import { sentence, share, stateOf, told } from "./words.js";

/**
 * Make the element of a photo; `total` and `index` tell screen readers where in the whole it is. `image` is one that
 * shows the photo already, so that it does not flicker when something else of it changes.
 */
export function cell(row, index, total, image = null) {
  const state = stateOf(row);
  const made = el("div", {
    class: `cell ${state.key}`, id: `photo-${row.id}`, role: "option",
    "aria-label": sentence(row), "aria-selected": "false",
  });
  made.append(
    el("div", { class: "picture" }, picture(row, state, image), el("span", { class: "tick" }), badge(state)),
    el(
      "div", { class: "caption" },
      el("span", { class: "name" }, caption(row, state)), " ", // two words for whoever says what they see
      row.probability === null || row.verdict ? null : el("span", { class: "share" }, share(row.probability)),
    ),
  );
  number(made, index, total);
  return made;
}

/** Only the place of a photo, while somebody scrolls too fast to see more. */
export function bareCell(row) {
  const attributes = { class: "cell", id: `photo-${row.id}`, role: "option", "aria-label": row.name, "aria-selected": "false" };
  return el("div", attributes, el("div", { class: "picture" }));
}

export function number(element, index, total) {
  element.setAttribute("aria-posinset", index + 1);
  element.setAttribute("aria-setsize", total);
}

/** Let the picture be fetched, which a fast scroll puts off. */
export function show(element) {
  const image = element.querySelector("img[data-src]");
  if (!image) return;
  image.src = image.dataset.src;
  image.removeAttribute("data-src");
}

function picture(row, state, shown) {
  if (row.state === "unreadable") return el("span", { class: "blank" }, icon(state.icon));
  if (shown?.getAttribute("src") === thumbnail(row)) return shown;
  const image = el("img", { alt: "", decoding: "async", draggable: false, "data-src": thumbnail(row) });
  image.onerror = () => image.replaceWith(el("span", { class: "blank" }, icon("warning")));
  return image;
}

function badge(state) {
  return state.icon && state.key !== "unreadable" ? el("span", { class: "badge" }, icon(state.icon)) : null;
}

function caption(row, state) {
  const name = told(row);
  if (name) return name;
  return state.text[0].toUpperCase() + state.text.slice(1);
}
