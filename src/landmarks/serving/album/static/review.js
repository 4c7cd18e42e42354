/** Every step of a review: it goes to the program, which writes, and says what it did and how to take it back. */

import { ApiError, post } from "./api.js";
import { toast } from "./toast.js";
import { named, photos } from "./words.js";

const DONE = { confirm: "Confirmed", reject: "Rejected", clear: "Took back the verdict on" };

export class Review {
  #library;
  #queue = Promise.resolve(); // one step after the other, however fast somebody types

  constructor(library) {
    this.#library = library;
  }

  confirm = (rows) => this.#judge(rows, "confirm", {}, rows.length === 1 ? named(rows[0]) : null);
  reject = (rows) => this.#judge(rows, "reject", {}, rows.length === 1 ? named(rows[0]) : null);
  clear = (rows) => this.#judge(rows, "clear", {}, rows.length === 1 ? rows[0].name : null);

  /** Say that photos show something else: a place of the gazetteer, or a learned landmark. */
  rename(rows, place) {
    const what = place.learned ? { name: place.name } : { key: place.key };
    return this.#step(
      () => post("verdicts", { photos: ids(rows), verdict: "rename", ...what }),
      (answer) => `${photos(answer.photos.length)} now ${answer.photos.length === 1 ? "shows" : "show"} ${place.name}`,
    );
  }

  /** Learn a landmark from photos; `position` is [latitude, longitude] or null, `more` what may be done then. */
  teach(rows, name, position, more) {
    const [latitude, longitude] = position ?? [null, null];
    return this.#step(
      () => post("teach", { photos: ids(rows), name, latitude, longitude }),
      ({ landmark, photos: { length }, warnings }) =>
        [`Learned ${landmark} from ${photos(length)}; the library is searched for more photos of it`, ...warnings].join(" · "),
      more,
    );
  }

  /** Without the `number` of a step, the newest of all windows is meant. */
  undo = (number = null) => this.#move("undo", number, "Undone", "Redo", this.redo);
  redo = (number = null) => this.#move("redo", number, "Done again", "Undo", this.undo);

  #judge(rows, verdict, what, name) {
    if (!rows.length) return Promise.resolve(null);
    return this.#step(
      () => post("verdicts", { photos: ids(rows), verdict, key: null, name: null, ...what }),
      ({ photos: { length } }) => (length ? `${DONE[verdict]} ${length === 1 && name ? name : photos(length)}` : ""),
    );
  }

  #move(path, number, done, label, back) {
    return this.#run(async () => {
      const answer = await post(path, { number });
      this.#take(answer);
      toast(`${done}: ${answer.step}${refusals(answer)}`, { [label]: () => back(answer.number) });
    });
  }

  #step(request, text, more = {}) {
    return this.#run(async () => {
      const answer = await request();
      this.#take(answer);
      const done = text(answer);
      const told = done + refusals(answer);
      toast(told, done ? { ...more, Undo: () => this.undo(answer.number) } : {}, done ? "" : "bad");
      return answer;
    });
  }

  /** Returns what `action` does, or null after a refusal, which is shown. */
  #run(action) {
    const step = this.#queue.then(action).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, {}, "bad");
      return null;
    });
    this.#queue = step.catch(() => null);
    return step;
  }

  #take(answer) {
    this.#library.take(answer.photos);
    const { can_undo, can_redo = 0 } = answer;
    this.#library.inform({ can_undo, can_redo });
  }
}

const ids = (rows) => rows.map(({ id }) => id);

function refusals({ refused = [] }) {
  if (!refused.length) return "";
  const reasons = [...new Set(refused.map(({ reason }) => reason))];
  const told = reasons.length === 1 ? reasons[0] : `${reasons[0]} (and ${reasons.length - 1} other reasons)`;
  return ` · ${photos(refused.length)} left as ${refused.length === 1 ? "it was" : "they were"}: ${told}`;
}
