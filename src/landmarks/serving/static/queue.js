/** Sends photos to the service, a few at a time, and comes again when it is busy. */

import { ServiceError, tag } from "./api.js";

const AT_A_TIME = 4;
const TRIES = 30;
/** Whether the same photo may go through the next time. */
const mendable = (status) => status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;

const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

export class Queue {
  #photos;
  #waiting = [];
  #running = 0;
  #refused;

  /** `refused` is called when the API key is missing or wrong. */
  constructor(photos, refused) {
    this.#photos = photos;
    this.#refused = refused;
  }

  add(photo) {
    this.#photos.update(photo, { state: "waiting", progress: 0, error: null });
    this.#waiting.push(photo);
    this.#run();
  }

  async #run() {
    while (this.#running < AT_A_TIME && this.#waiting.length > 0) {
      const photo = this.#waiting.shift();
      this.#running += 1;
      this.#send(photo).finally(() => {
        this.#running -= 1;
        this.#run();
      });
    }
  }

  async #send(photo) {
    for (let attempt = 1; this.#photos.has(photo); attempt += 1) {
      this.#photos.update(photo, { state: "sending", progress: 0 });
      try {
        const answer = await tag(photo.file, (progress) => this.#photos.update(photo, { progress }));
        this.#photos.update(photo, { state: "done", answer });
        return;
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error;
        if (error.status !== 429 || attempt === TRIES) {
          this.#photos.update(photo, { state: "failed", error: error.message, again: mendable(error.status) });
          if (error.status === 401) this.#refused();
          return;
        }
        this.#photos.update(photo, { state: "busy" });
        // Not all at the same moment again.
        await sleep((error.retryAfter || 1) * (0.75 + Math.random() / 2));
      }
    }
  }
}
