/**
 * Sends photos to the service: few at a time where the line is slow, more where it is quick. When the service is busy
 * or away, the queue rests and goes on by itself; where an API key is refused, it rests until there is another.
 */

import { prepared, ServiceError, tag } from "./api.js";

const MOST_AT_ONCE = 6; // browsers open no more connections
const QUICK = 2; // seconds of a photo from which on another one may go beside it
const SLOW = 8;
const LONGEST_REST = 30; // seconds
const PATIENCE = 300; // seconds without any answer, after which the user is asked

/** Whether the same photo may go through when the user asks for it. */
const mendable = (error) => error.passes || error.status >= 500;

export class Queue {
  #photos;
  #waiting = [];
  #sending = new Set();
  #atOnce = 2;
  #resting = false;
  #rests = 0; // since the last answer
  #answered = performance.now();
  #key = 1; // number of the API key, which may be none
  #badKey = 0; // number of the one that was refused
  #limit;
  #refused;
  #came;

  /**
   * `limit` tells the most bytes of a file; `refused` is called once when the API key is missing or wrong; `came` is
   * called with each answer.
   */
  constructor(photos, limit, refused, came) {
    this.#photos = photos;
    this.#limit = limit;
    this.#refused = refused;
    this.#came = came;
  }

  /** Put a photo in, unless it is there: one that was taken off the page and brought back meanwhile. */
  add(photo) {
    if (this.#sending.has(photo) || this.#waiting.includes(photo)) return;
    this.#photos.update(photo, { state: "waiting", progress: 0, error: null });
    if (this.#sending.size === 0 && this.#waiting.length === 0) this.#answered = performance.now();
    this.#waiting.push(photo);
    this.#run();
  }

  /** Go on with another API key. */
  useKey() {
    this.#key += 1;
    this.#answered = performance.now();
    this.#run();
  }

  #run() {
    const rests = this.#resting || this.#badKey === this.#key;
    while (!rests && this.#sending.size < this.#atOnce && this.#waiting.length > 0) {
      const photo = this.#waiting.shift();
      if (!this.#photos.has(photo)) continue;
      this.#sending.add(photo);
      this.#send(photo).finally(() => {
        this.#sending.delete(photo);
        this.#run();
      });
    }
  }

  async #send(photo) {
    const key = this.#key;
    this.#photos.update(photo, { state: "sending", progress: 0, error: null });
    try {
      const file = await prepared(photo.file);
      if (!this.#photos.has(photo)) return;
      const limit = this.#limit();
      if (file.size > limit) {
        const told = (limit / 2 ** 20).toFixed(limit < 2 ** 20 ? 1 : 0);
        throw new ServiceError(413, "too_large", `The file is larger than the ${told} MiB that this service takes.`);
      }
      const started = performance.now();
      const answer = await tag(file, photo.file.name, (progress) => this.#photos.update(photo, { progress }));
      this.#went((performance.now() - started) / 1000);
      this.#photos.update(photo, { state: "done", answer });
      this.#came(answer);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      if (error.status === 401) this.#keep(photo, key);
      else this.#failed(photo, error);
    }
  }

  #went(seconds) {
    this.#answered = performance.now();
    this.#rests = 0;
    if (seconds < QUICK) this.#atOnce = Math.min(MOST_AT_ONCE, this.#atOnce + 1);
    else if (seconds > SLOW) this.#atOnce = Math.max(1, this.#atOnce - 1);
  }

  /** Keep a photo for another API key, or send it again where there is one by now. */
  #keep(photo, key) {
    this.#photos.update(photo, { state: "waiting", progress: 0 });
    this.#waiting.unshift(photo);
    if (key !== this.#key || key === this.#badKey) return;
    this.#badKey = key;
    this.#refused();
  }

  #failed(photo, error) {
    if (error.status === 429) this.#answered = performance.now(); // it is there, only busy
    // The service has tried it on two workers.
    const over = (performance.now() - this.#answered) / 1000 > PATIENCE || error.code === "worker_lost";
    if (!error.passes || over) {
      this.#photos.update(photo, { state: "failed", error: error.message, again: mendable(error) });
      return;
    }
    const told = error.status === 429 ? "The service is busy." : error.message;
    this.#photos.update(photo, { state: "busy", error: told });
    this.#waiting.unshift(photo);
    this.#rest(error.retryAfter);
  }

  #rest(asked) {
    if (this.#resting) return;
    this.#resting = true;
    this.#atOnce = Math.max(1, Math.floor(this.#atOnce / 2));
    const seconds = Math.min(LONGEST_REST, Math.max(asked, 2 ** this.#rests));
    this.#rests += 1;
    // Not everybody at the same moment again.
    setTimeout(() => {
      this.#resting = false;
      this.#run();
    }, seconds * 1000 * (0.75 + Math.random() / 2));
  }
}
