/** How the tagging goes on, what the library has to say, and whether the program is there. */

import { ApiError, post } from "./api.js";
import { byId } from "./shared/dom.js";
import { icon } from "./icons.js";
import { say, toast } from "./toast.js";
import { number, whyReadOnly } from "./words.js";

const CONNECTIONS = {
  away: "landmarks is not responding. You see the last state; retrying every two seconds.",
  ended: "This page is no longer signed in. Start landmarks open again, and use the address that it prints.",
};

export class Status {
  #library;
  #last = null;

  constructor(library) {
    this.#library = library;
    library.addEventListener("info", () => this.#draw());
    library.addEventListener("connection", () => {
      if (library.connection === "here") say("Connected again");
      this.#banner();
    });
    byId("tagging-switch").onclick = () => this.#switch();
  }

  async #switch() {
    const running = this.#library.info.tagging.state !== "running";
    try {
      this.#library.inform({ tagging: await post("tagging", { running }) });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, {}, "bad");
    }
  }

  #draw() {
    const { title, model, tagging, skipped, can_undo: undo, can_redo: redo } = this.#library.info;
    document.body.classList.toggle("look-only", Boolean(this.#library.info.read_only)); // hides what writes
    document.title = `${title}: landmarks`;
    byId("title").textContent = title;
    byId("title").title = `${this.#library.info.root} · model ${model}`;
    byId("skipped").textContent = skipped ? `(skipped: ${skipped})` : "";
    byId("undo").disabled = !undo;
    byId("redo").disabled = !redo;
    this.#tagging(tagging);
    this.#banner();
  }

  #tagging({ state, done, total, unreadable }) {
    const running = state === "running";
    const going = running || state === "paused";
    byId("tagging").hidden = !going || done >= total;
    byId("tagging-bar").max = Math.max(1, total);
    byId("tagging-bar").value = done;
    const told = running ? "Tagging" : "Paused";
    byId("tagging-text").textContent = `${told}: ${number(done)} of ${number(total)}`;
    byId("tagging").title = unreadable ? `${number(unreadable)} unreadable` : "";
    const button = byId("tagging-switch");
    if (state !== this.#last) {
      button.title = running ? "Pause tagging" : "Resume tagging";
      button.setAttribute("aria-label", button.title);
      button.replaceChildren(icon(running ? "pause" : "play"));
      if (this.#last && this.#last !== "starting") say(running ? "Tagging goes on" : state === "paused" ? "Tagging is paused" : "All photos were looked at");
    }
    this.#last = state;
  }

  #banner() {
    const { info, connection } = this.#library;
    const text = CONNECTIONS[connection] ?? info?.tagging.message
      ?? (info ? whyReadOnly(info) : "");
    const banner = byId("banner");
    if (banner.textContent === text) return;
    banner.textContent = text;
    banner.hidden = !text;
    if (text) say(text);
    banner.classList.toggle("away", connection !== "here");
  }
}
