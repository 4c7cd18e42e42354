/** The small dialogs: something else, confirm many, keys, a link for another device. */

import { ApiError, post } from "./api.js";
import { choices, dialog } from "./dialogs.js";
import { copy, el } from "./shared/dom.js";
import { placeField } from "./places.js";
import { qrCode } from "./qr.js";
import { toast } from "./toast.js";
import { named, photos } from "./words.js";

const LOCAL = "It works on this computer only. For a phone in the same network, start the program with --host 0.0.0.0.";

/** Ask what photos show instead; returns a place, {fresh: text} for a name that is to be taught, or null. */
export function askPlace(rows) {
  const present = rows.length === 1 ? named(rows[0]) : "";
  const which = rows.length === 1 ? "does this photo" : `do these ${photos(rows.length)}`;
  const title = present ? `Not ${present}. What is it?` : `What ${which} show?`;
  return dialog(title, (close) => {
    const fresh = (text) => `Teach “${text}” as something new…`;
    const { field } = placeField("Name of a landmark", { chosen: close, fresh });
    return [field, el("p", { class: "quiet" }, "Names in any language; choose one from the list.")];
  }, "small");
}

/** Ask before many photos are judged at once: how many, and of what; `verb` is what is done, `which` tells which these are. */
export function askMany(rows, writes, verb, which) {
  const counts = new Map();
  for (const row of rows) counts.set(named(row), (counts.get(named(row)) ?? 0) + 1);
  const list = [...counts].sort(([, one], [, other]) => other - one);
  const shown = list.slice(0, 8).map(([name, count]) => el("li", {}, el("span", {}, name), el("span", {}, photos(count))));
  if (list.length > 8) shown.push(el("li", {}, `and ${list.length - 8} more landmarks`));
  return dialog(`${verb} ${photos(rows.length)}?`, (close) => [
    el("p", {}, which),
    el("ul", { class: "tally" }, ...shown),
    el("p", { class: "quiet" }, `What changes is written to ${writes}. It is one step, and Undo takes it back.`),
    choices(`${verb} ${photos(rows.length)}`, close),
  ], "small");
}

/** Show the keys; `keys` are [{show, text}]. */
export function showKeys(keys) {
  return dialog("Keys", () => [
    el("dl", { class: "keys" }, ...keys.flatMap(({ show, text }) => [
      el("dt", {}, ...show.split(" ").flatMap((key) => [el("kbd", {}, key), " "])), el("dd", {}, text),
    ])),
    el("p", { class: "quiet" }, "Mouse: click selects, Shift and Ctrl click select more, a double click shows large."),
    el("p", { class: "quiet" }, "Finger: tap shows large, hold selects, swipe goes on."),
  ], "wide");
}

/** Make a link with which a phone in the same network, or another browser, may come in. */
export async function showLink() {
  try {
    const { url } = await post("links");
    const input = el("input", { type: "text", readOnly: true, value: url, "aria-label": "Link" });
    await dialog("Open on another device", () => {
      const onclick = async () => {
        const done = await copy(url);
        button.textContent = done ? "Copied" : "Press Ctrl C";
        if (done) setTimeout(() => (button.textContent = "Copy"), 2000);
        else input.select();
      };
      const button = el("button", { type: "button", class: "primary", onclick }, "Copy");
      const local = /\/\/(127\.|localhost|\[::1\])/.test(url);
      return [
        el("p", {}, "This link works once. Whoever opens it can see and judge the photos of this library."),
        local ? null : qrCode(url, "The link as a QR code, for the camera of a phone"),
        el("div", { class: "row" }, input, button),
        local ? el("p", { class: "quiet" }, LOCAL) : null,
      ].filter(Boolean);
    }, "small");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, {}, "bad");
  }
}
