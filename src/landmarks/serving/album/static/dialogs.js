/** Windows over the page: they keep the focus inside, close with Esc, and give the focus back. */

import { el } from "./shared/dom.js";

/** Open a dialog with a title; `fill(close)` returns its content. The promise holds what it was closed with. */
export function dialog(title, fill, kind = "") {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const made = el("dialog", { class: kind, "aria-labelledby": "dialog-title" });
    let result = null;
    const close = (value = null) => {
      result = value;
      made.close();
    };
    const cross = el("button", { type: "button", class: "bare", "aria-label": "Close", onclick: () => close() }, "✕");
    made.append(el("header", {}, el("h2", { id: "dialog-title" }, title), cross), ...fill(close));
    made.addEventListener("click", (event) => {
      if (event.target === made) close(); // beside it
    });
    made.addEventListener("close", () => {
      made.remove();
      before?.focus?.({ preventScroll: true });
      resolve(result);
    });
    document.body.append(made);
    made.showModal();
    made.querySelector("[autofocus], input, .primary")?.focus();
  });
}

/** Buttons at the end of a dialog: what it does, and the way out. */
export function choices(label, close, submit) {
  const how = submit ? { type: "submit" } : { type: "button", onclick: () => close(true) };
  const go = el("button", { class: "primary", ...how }, label);
  return el("div", { class: "choices" }, go, el("button", { type: "button", onclick: () => close() }, "Cancel"));
}

export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;
