/** What was just done, in a sentence that goes away, with Undo beside it. */

import { byId, el } from "./shared/dom.js";

const SHOWN = 8000; // milliseconds
let timer = 0;

/** Show a sentence, and have it read out; `actions` are {label: function}. */
export function toast(text, actions = {}, kind = "") {
  say(text);
  const buttons = Object.entries(actions).map(([label, action]) => {
    const onclick = () => {
      hide();
      action();
    };
    return el("button", { type: "button", onclick }, label);
  });
  const close = el("button", { type: "button", class: "bare", "aria-label": "Close this message", onclick: hide }, "✕");
  byId("toast").replaceChildren(el("p", {}, text), ...buttons, close);
  byId("toast").className = `toast ${kind}`;
  byId("toast").hidden = false;
  linger();
}

/** Have a sentence read out that is there to see already. */
export function say(text) {
  // The same words twice are two events.
  byId("live").textContent = byId("live").textContent === text ? `${text}\u00a0` : text;
}

function linger() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const toast = byId("toast");
    if (toast.matches(":hover, :focus-within")) linger();
    else hide();
  }, SHOWN);
}

function hide() {
  byId("toast").hidden = true;
}
