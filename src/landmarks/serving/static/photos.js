/**
 * The photos on the page and what the user says of them. This is all there is: the service keeps nothing.
 *
 * A photo is {id, file, url, state, progress, answer, error, again, verdict, chosen}: `state` is waiting, sending,
 * busy, done or failed, and `again` whether what failed is worth another try; `verdict` is null, confirmed or rejected;
 * `chosen` is a tag the user took from the candidates.
 */

export class Photos {
  #photos = new Map();
  #listeners = [];
  #next = 1;
  #steps = []; // what undoes each step, latest last

  /** Have `listener(photo, what)` called for each change; `what` is added, changed or removed. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** All photos, in the order in which they came. */
  all() {
    return [...this.#photos.values()];
  }

  add(file) {
    const photo = {
      id: this.#next++, file, url: URL.createObjectURL(file),
      state: "waiting", progress: 0, answer: null, error: null, again: false, verdict: null, chosen: null,
    };
    this.#photos.set(photo.id, photo);
    this.#tell(photo, "added");
    return photo;
  }

  has(photo) {
    return this.#photos.has(photo.id);
  }

  update(photo, changes) {
    if (!this.has(photo)) return;
    Object.assign(photo, changes);
    this.#tell(photo, "changed");
  }

  /** Take photos off the page, in one step. */
  remove(...photos) {
    for (const photo of photos) {
      this.#photos.delete(photo.id);
      this.#tell(photo, "removed");
    }
    this.#steps.push(() => {
      const all = [...this.all(), ...photos].sort((one, other) => one.id - other.id);
      this.#photos = new Map(all.map((photo) => [photo.id, photo]));
      for (const photo of photos) this.#tell(photo, "added");
    });
  }

  /** Confirm or reject; the same verdict again takes it back. */
  judge(photo, verdict) {
    if (verdict === "confirmed" && tagsOf(photo).length === 0) return;
    this.#step(photo, { verdict: photo.verdict === verdict ? null : verdict });
  }

  /** Take a tag that the user chose in place of what was said. */
  choose(photo, tag) {
    this.#step(photo, { chosen: tag, verdict: "confirmed" });
  }

  get canUndo() {
    return this.#steps.length > 0;
  }

  /** Take back the latest verdict, choice or removal. */
  undo() {
    this.#steps.pop()?.();
  }

  #step(photo, changes) {
    const { verdict, chosen } = photo;
    this.#steps.push(() => this.update(photo, { verdict, chosen }));
    this.update(photo, changes);
  }

  #tell(photo, what) {
    for (const listener of this.#listeners) listener(photo, what);
  }
}

/** Whether a photo is still to be answered. */
export const isUnderWay = ({ state }) => state !== "done" && state !== "failed";

/** What is said of a photo, by the user or else by the service, whatever the verdict. */
export function tagsOf(photo) {
  if (photo.chosen) return [photo.chosen];
  return photo.answer?.tags ?? [];
}

/** What goes into copies and downloads. */
export function keptTags(photo, onlyConfirmed) {
  if (photo.verdict === "rejected" || (onlyConfirmed && photo.verdict !== "confirmed")) return [];
  return tagsOf(photo);
}
