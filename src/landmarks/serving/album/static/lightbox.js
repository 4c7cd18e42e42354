/** The lightbox: one photo over the page, judged with the same keys as on the sheet. */

import { ApiError, get } from "./api.js";
import { byId, el } from "./shared/dom.js";
import { facts } from "./facts.js";
import { icon } from "./icons.js";
import { Stage } from "./stage.js";
import { say, toast } from "./toast.js";
import { named, number, sentence, share, stateOf, told } from "./words.js";

export class Lightbox extends EventTarget {
  /** Id of the photo that is shown, or null. */
  id = null;
  #library;
  #actions;
  #order = () => [];
  #from = null; // id of the photo in this order from which one goes on: a near photo need not be in it
  #element = byId("lightbox");
  #stage;
  #parts = {};
  #detail = null;
  #before = null; // what had the focus
  #closing = null; // a promise between `close` and the end of it

  /** `actions` are {confirm, reject, rename, clear, similar}, each of one row, and pick(row, candidate). */
  constructor(library, actions) {
    super();
    this.#library = library;
    this.#actions = actions;
    this.#build();
    library.addEventListener("photos", () => this.#refresh());
    window.addEventListener("popstate", () => this.id !== null && this.#hide());
  }

  /** Show a photo; `order` returns the rows between which one goes on. */
  open(id, order) {
    if (this.id === null) {
      this.#before = document.activeElement;
      history.pushState(null, ""); // a phone's Back closes it
    }
    this.#order = order;
    this.#element.hidden = false;
    byId("app").inert = true;
    this.#show(id);
    this.#element.focus();
  }

  /** Returns a promise that is kept once it is closed: whoever goes elsewhere in the history waits for it. */
  close() {
    if (this.id !== null && !this.#closing) {
      this.#closing = new Promise((kept) => this.addEventListener("closed", kept, { once: true }));
      history.back();
    }
    return this.#closing ?? Promise.resolve();
  }

  get isOpen() {
    return this.id !== null;
  }

  get row() {
    return this.#library.photos.get(this.id) ?? null;
  }

  /** Go on by so many photos. */
  step(by) {
    const order = this.#order();
    const next = order[this.#place(order) + by];
    if (next) this.#show(next.id);
    else say(by > 0 ? "This is the last photo" : "This is the first photo");
  }

  zoom(factor) {
    this.#stage.zoom(factor);
  }

  fit() {
    this.#stage.fit();
  }

  toggleFacts() {
    const closed = this.#element.classList.toggle("plain");
    this.#parts.info.setAttribute("aria-pressed", String(!closed));
  }

  async heat() {
    const { row } = this;
    if (!row || row.state === "unreadable") return;
    const shown = await this.#stage.heat(row);
    if (!shown) toast("There is no heat map of this photo.", {}, "bad");
    this.#parts.heat.setAttribute("aria-pressed", String(this.#stage.heated));
  }

  #place(order) {
    return order.findIndex(({ id }) => id === this.#from);
  }

  #hide() {
    const { id } = this;
    this.id = this.#closing = null;
    this.#element.hidden = true;
    byId("app").inert = false;
    this.#before?.focus?.({ preventScroll: true });
    this.dispatchEvent(new CustomEvent("closed", { detail: id }));
  }

  async #show(id) {
    this.id = id;
    this.#detail = null;
    const row = this.#library.photos.get(id);
    if (!row) return;
    const order = this.#order();
    if (order.some((each) => each.id === id)) this.#from = id;
    this.#stage.show(row, sentence(row));
    this.#parts.heat.setAttribute("aria-pressed", "false");
    this.#refresh();
    say(sentence(row));
    this.dispatchEvent(new CustomEvent("shown", { detail: id }));
    try {
      const detail = await get(`photos/${id}`);
      if (this.id !== id) return;
      this.#detail = detail;
      this.#refresh();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    if (this.id === id) for (const by of [1, -1]) this.#stage.prepare(order[this.#place(order) + by]);
  }

  /** Draw what is told of the photo again; the picture stays. */
  #refresh() {
    if (this.id === null) return;
    const { row } = this;
    if (!row) { // the file is gone
      this.close();
      return;
    }
    const order = this.#order();
    const at = this.#place(order);
    const state = stateOf(row);
    const name = named(row);
    this.#parts.count.textContent = row.id !== this.#from ? "" : `${number(at + 1)} of ${number(order.length)}`;
    this.#parts.previous.disabled = at <= 0;
    this.#parts.next.disabled = at === order.length - 1;
    this.#parts.title.className = state.key;
    this.#parts.title.replaceChildren(told(row) || (row.state === "unknown" ? "Unknown" : state.text));
    const said = [row.city, row.country].filter((part) => part && part !== name);
    if (row.probability !== null && !row.verdict) said.push(share(row.probability));
    this.#parts.where.replaceChildren(said.join(" · "));
    this.#parts.state.className = `state ${state.key}`;
    this.#parts.state.hidden = !name; // the title says it
    this.#parts.state.replaceChildren(...(state.icon ? [icon(state.icon)] : []), state.text);
    this.#parts.confirm.disabled = row.verdict === "confirmed" || !row.name_of_tag;
    this.#parts.reject.disabled = row.verdict === "rejected" || !row.name_of_tag;
    this.#parts.clear.hidden = row.verdict === null;
    const kept = this.#parts.facts.scrollTop;
    this.#parts.facts.replaceChildren(...facts(row, this.#detail, this.#library, {
      pick: (candidate) => this.#actions.pick(row, candidate),
      open: (id) => this.#show(id),
    }));
    this.#parts.facts.scrollTop = kept;
  }

  #build() {
    const parts = this.#parts;
    const button = (name, sign, label, key, onclick, text = "") => {
      const properties = { type: "button", class: text ? name : `round ${name}`, title: `${label} (${key})`, onclick };
      return (parts[name] = el("button", { ...properties, "aria-label": text ? null : label }, icon(sign), text));
    };
    const judge = (name) => () => this.row && this.#actions[name](this.row);
    parts.count = el("p", { class: "count" });
    parts.title = el("h2", { id: "lightbox-title" });
    parts.where = el("p", { class: "quiet" });
    parts.state = el("p", { class: "state" });
    parts.facts = el("div", { class: "facts", tabIndex: 0, role: "region", "aria-label": "About this photo" });
    const stage = el("div", { class: "stage" });
    const tools = el(
      "div", { class: "tools" }, parts.count,
      button("heat", "heat", "Heat map: where the model looked", "H", () => this.heat()),
      button("similar", "alike", "Photos that look like this one", "S", judge("similar")),
      button("out", "farther", "Zoom out", "-", () => this.zoom(0.5)),
      button("in", "closer", "Zoom in", "+", () => this.zoom(2)),
      button("info", "info", "Facts beside the photo", "I", () => this.toggleFacts()),
      button("close", "cross", "Close", "Esc", () => this.close()),
    );
    stage.append(
      button("previous", "previous", "Previous photo", "←", () => this.step(-1)),
      button("next", "next", "Next photo", "→", () => this.step(1)),
    );
    parts.info.setAttribute("aria-pressed", "true");
    parts.heat.setAttribute("aria-pressed", "false");
    const verdict = el(
      "div", { class: "judge writes" },
      button("confirm", "check", "Confirm", "C", judge("confirm"), "Confirm"),
      button("reject", "cross", "Reject", "X", judge("reject"), "Reject"),
      button("rename", "edit", "Something else", "E", judge("rename"), "Something else"),
      button("clear", "clear", "Take back", "U", judge("clear"), "Take back"),
    );
    const head = el("div", { class: "about" }, parts.title, parts.where, parts.state);
    this.#element.append(stage, tools, el("aside", {}, head, verdict, parts.facts));
    this.#stage = new Stage(stage);
    this.#stage.addEventListener("swipe", ({ detail }) => this.step(detail));
    this.#stage.addEventListener("failed", () => say("This photo cannot be shown"));
  }
}
