/** Unknown photos that look alike: perhaps one place, which somebody can name. */

import { ApiError, get } from "./api.js";
import { byId, el } from "./shared/dom.js";
import { icon } from "./icons.js";
import { nearButton } from "./near.js";
import { toast } from "./toast.js";
import { photos } from "./words.js";

const SHOWN = 6; // photos of a cluster

export class Suggestions {
  #library;
  #actions;
  #dropped = new Set(); // first photos of what the user put aside, for this visit
  #asking = false;

  /** `actions` are {teach(rows), show(rows), open(id, rows)}. */
  constructor(library, actions) {
    this.#library = library;
    this.#actions = actions;
  }

  /** Look again if there was nothing so far: photos are looked at meanwhile. */
  async refresh() {
    if (!this.#asking && !byId("suggestions").childElementCount) await this.show();
  }

  async show() {
    const list = byId("suggestions");
    this.#asking = true;
    try {
      const found = await get("suggestions");
      const clusters = found
        .map(({ photos: ids }) => ids.map((id) => this.#library.photos.get(id)).filter(Boolean))
        .filter((rows) => rows.length > 1 && !this.#dropped.has(rows[0].id));
      list.replaceChildren(...clusters.map((rows) => this.#card(rows)));
      byId("suggestions-none").hidden = clusters.length > 0;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, {}, "bad");
    } finally {
      this.#asking = false;
    }
  }

  #card(rows) {
    const title = `${photos(rows.length)} of one place: what is it?`;
    const large = (row) => nearButton(row, `${row.name}, show large`, () => this.#actions.open(row.id, rows));
    const pictures = el("div", { class: "pictures" }, ...rows.slice(0, SHOWN).map(large));
    const drop = () => {
      this.#dropped.add(rows[0].id);
      card.remove();
      byId("suggestions-none").hidden = byId("suggestions").childElementCount > 0;
    };
    const choices = el(
      "div", { class: "choices" },
      el("button", { type: "button", class: "primary writes", onclick: () => this.#actions.teach(rows) }, icon("teach"), "Name it…"),
      el("button", { type: "button", onclick: () => this.#actions.show(rows) }, "Show in the grid"),
      el("button", { type: "button", onclick: drop }, "Not one place"),
    );
    const card = el("li", { class: "suggestion" }, el("h3", {}, title), pictures, choices);
    return card;
  }
}
