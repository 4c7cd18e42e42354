/** Filters with their counts, search, order and groups: what the view is made of. */

import { byId, el } from "./shared/dom.js";
import { FILTERS } from "./filters.js";
import { GROUPS, SORTS } from "./groups.js";
import { icon } from "./icons.js";
import { number, photos } from "./words.js";

const PAUSE = 150; // milliseconds without a key after which the search is done
const SIZES = [112, 136, 168, 216, 288];
const KEPT = "landmarks-album"; // of the browser's storage

export class Bar extends EventTarget {
  /** What is wanted of the view: see `filtered`, `grouped` and `sorted`; `ranked` if `only` is in an order of its own. */
  wanted = { keys: new Set(), text: "", only: null, ranked: false, group: "month", sort: "newest", size: 2 };
  #chips = new Map();

  constructor() {
    super();
    this.#restore();
    this.#fill();
    this.#listen();
  }

  /** Least width of a photo. */
  get cell() {
    return SIZES[this.wanted.size];
  }

  /** Show some photos alone; `words` tell where they come from, `ranked` keeps them in this order. */
  limit(ids, words, ranked = false) {
    this.wanted.only = ids && new Map(ids.map((id, rank) => [id, rank]));
    this.wanted.ranked = ranked;
    byId("only").hidden = !ids;
    byId("only-text").textContent = ids ? words : "";
    byId("only").setAttribute("aria-label", `${words ?? ""}: show all photos again`);
    this.#tell();
  }

  /** Show everything again. */
  reset() {
    this.find("");
  }

  /** Show what has a text in its name, tags or folder, whatever was wanted before. */
  find(text) {
    this.wanted.keys.clear();
    this.wanted.text = byId("search").value = text;
    this.limit(null);
  }

  /** Whether the newest photos come first, whatever else is shown: the program sends these with the page. */
  get isNewestFirst() {
    const { group, sort } = this.wanted;
    return sort === "newest" && ["none", "day", "month"].includes(group);
  }

  get narrowed() {
    const { keys, text, only } = this.wanted;
    return keys.size > 0 || text.trim() !== "" || only !== null;
  }

  /** Show how many photos each filter has, and how many may be confirmed at once. */
  count(counts, shown, total, sure) {
    for (const { key } of FILTERS) {
      const chip = this.#chips.get(key);
      const chosen = this.wanted.keys.has(key);
      chip.element.setAttribute("aria-pressed", String(chosen));
      chip.number.textContent = number(counts[key]);
      chip.element.hidden = counts[key] === 0 && !chosen && ["waiting", "unreadable", "estimated"].includes(key);
    }
    byId("all").setAttribute("aria-pressed", String(!this.narrowed));
    byId("all-count").textContent = number(total);
    byId("sure").disabled = sure === 0;
    byId("sure-count").textContent = number(sure);
    byId("shown-count").textContent = this.narrowed ? `${photos(shown)} of ${number(total)}` : photos(total);
  }

  #fill() {
    for (const { key, name, hint, icon: sign } of FILTERS) {
      const count = el("span", { class: "count" });
      const onclick = () => {
        const { keys } = this.wanted;
        if (!keys.delete(key)) keys.add(key);
        this.#tell();
      };
      const properties = { type: "button", class: `chip ${key}`, "aria-pressed": "false", title: hint ?? "", onclick };
      const chip = el("button", properties, icon(sign), name, " ", count);
      this.#chips.set(key, { element: chip, number: count });
      byId("chips").append(chip);
    }
    const fill = (id, options, value) => {
      byId(id).append(...Object.entries(options).map(([key, text]) => el("option", { value: key }, text)));
      byId(id).value = value;
    };
    fill("group", GROUPS, this.wanted.group);
    fill("sort", SORTS, this.wanted.sort);
    byId("size").max = SIZES.length - 1;
    byId("size").value = this.wanted.size;
  }

  #listen() {
    let timer = 0;
    byId("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        this.wanted.text = byId("search").value;
        this.#tell();
      }, PAUSE);
    });
    byId("find").addEventListener("submit", (event) => event.preventDefault());
    byId("all").onclick = () => this.reset();
    byId("only").onclick = () => this.limit(null);
    for (const id of ["group", "sort"]) {
      byId(id).onchange = () => {
        this.wanted[id] = byId(id).value;
        this.#tell();
      };
    }
    byId("size").oninput = () => {
      this.wanted.size = Number(byId("size").value);
      this.dispatchEvent(new Event("sized"));
      this.#keep();
    };
  }

  #tell() {
    this.#keep();
    this.dispatchEvent(new Event("changed"));
  }

  #keep() {
    const { group, sort, size } = this.wanted;
    try {
      localStorage.setItem(KEPT, JSON.stringify({ group, sort, size }));
    } catch {
      // A browser that keeps nothing shows the same page, only not the next time.
    }
  }

  #restore() {
    try {
      const { group, sort, size } = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      if (GROUPS[group]) this.wanted.group = group;
      if (SORTS[sort]) this.wanted.sort = sort;
      if (SIZES[size]) this.wanted.size = size;
    } catch {
      // What another version kept is not worth a message.
    }
  }
}
