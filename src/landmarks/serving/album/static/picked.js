/** The bar below: what is selected, or the photo that the keyboard is on, and what can be done with it. */

import { byId } from "./shared/dom.js";
import { icon } from "./icons.js";
import { photos, sentence, told } from "./words.js";

const BUTTONS = {
  confirm: ["check", "Confirm", "C"],
  reject: ["cross", "Reject", "X"],
  rename: ["edit", "Something else", "E"],
  teach: ["teach", "Teach", "T"],
  take: ["clear", "Take back", "U"],
  similar: ["alike", "Similar", "S"],
  large: ["closer", "Large", "Space"],
};

/** Fill the bar; `actions` has a function for each button. */
export function buildPicked(actions) {
  for (const [name, [sign, label, key]] of Object.entries(BUTTONS)) {
    const button = byId(`do-${name}`);
    button.title = `${label} (${key})`;
    button.prepend(icon(sign));
    button.onclick = actions[name];
  }
  byId("do-none").onclick = actions.none;
}

/** Show what the buttons would act on; `selected` is false if it is only the photo with the keyboard. */
export function showPicked(rows, selected) {
  byId("picked").hidden = rows.length === 0;
  if (!rows.length) return;
  const [first] = rows;
  byId("picked-text").textContent = selected ? `${photos(rows.length)} selected` : told(first) || first.name;
  byId("picked-text").title = selected ? "" : sentence(first);
  const tagged = rows.some(({ name_of_tag: name }) => name);
  byId("do-confirm").disabled = !tagged || rows.every(({ verdict }) => verdict === "confirmed");
  byId("do-reject").disabled = !tagged || rows.every(({ verdict }) => verdict === "rejected");
  byId("do-take").disabled = rows.every(({ verdict }) => verdict === null);
  byId("do-none").hidden = !selected;
}
