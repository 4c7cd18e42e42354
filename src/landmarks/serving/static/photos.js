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

  /** Have `listener(photo, what)` called for each change; `what` is added, changed or removed. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

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

  remove(photo) {
    this.#photos.delete(photo.id);
    URL.revokeObjectURL(photo.url);
    this.#tell(photo, "removed");
  }

  /** Confirm or reject; the same verdict again takes it back. */
  judge(photo, verdict) {
    if (verdict === "confirmed" && tagsOf(photo).length === 0) return;
    this.update(photo, { verdict: photo.verdict === verdict ? null : verdict });
  }

  /** Take a tag that the user chose in place of what was said. */
  choose(photo, tag) {
    this.update(photo, { chosen: tag, verdict: "confirmed" });
  }

  #tell(photo, what) {
    for (const listener of this.#listeners) listener(photo, what);
  }
}

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
