/** Which photos are selected, and which one the keyboard is on. */

export class Selection extends EventTarget {
  /** Ids of the selected photos. */
  ids = new Set();
  /** Id of the photo that the keyboard is on, or null. */
  active = null;
  #anchor = null; // from where shift selects

  /** Put the keyboard on a photo; what was selected is not any more. */
  go(id) {
    this.ids.clear();
    this.#set(id, id);
  }

  /** Put the keyboard on a photo, and leave the selection as it is. */
  point(id) {
    this.#set(id, this.#anchor ?? id);
  }

  /** Select from where shift began up to a photo, in the order that is shown. */
  extend(id, order) {
    const at = (wanted) => order.findIndex((row) => row.id === wanted);
    const from = at(this.#anchor ?? this.active ?? id);
    const [first, last] = [from, at(id)].sort((one, other) => one - other);
    this.ids = new Set(order.slice(Math.max(0, first), last + 1).map((row) => row.id));
    this.#set(id, this.#anchor ?? this.active ?? id);
  }

  toggle(id) {
    if (!this.ids.delete(id)) this.ids.add(id);
    this.#set(id, id);
  }

  /** Select these, or none of them if all are. */
  toggleAll(ids) {
    const all = ids.every((id) => this.ids.has(id));
    for (const id of ids) {
      if (all) this.ids.delete(id);
      else this.ids.add(id);
    }
    this.#tell();
  }

  clear() {
    this.ids.clear();
    this.#tell();
  }

  /** Forget what is no longer shown. */
  keep(index) {
    const kept = [...this.ids].filter((id) => index.has(id));
    if (kept.length === this.ids.size) return;
    this.ids = new Set(kept);
    this.#tell();
  }

  #set(active, anchor) {
    this.active = active;
    this.#anchor = anchor;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
