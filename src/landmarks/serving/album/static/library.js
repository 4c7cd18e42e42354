/**
 * The photos of the library as the page knows them. They come from the program and change with its events only,
 * so that two windows never show different things.
 */

import { ApiError, get } from "./api.js";
import { byId } from "./shared/dom.js";

const GATHERED = 300; // milliseconds within which changes are asked for together
const GATHERED_TAGGING = 1500; // and while the model works, which changes something all the time
const AGAIN = 2000; // milliseconds until a program that is away is tried again

export class Library extends EventTarget {
  /** Rows by id, as in the contract, with `time`, by which they are sorted, and `clock`, which is shown: milliseconds, or NaN. */
  photos = new Map();
  info = null;
  /** Whether `photos` are all, not only those that came with the page. */
  complete = false;
  /** "here", "away" or "ended" (the cookie no longer counts). */
  connection = "here";
  #revision = 0;
  #asking = null;
  #again = false;

  /** Take the photos that came with the page, the newest; returns whether there are any. */
  begin() {
    const { info, photos } = JSON.parse(byId("first").textContent);
    this.photos = new Map(photos.map((row) => [row.id, prepared(row)]));
    this.inform(info);
    return photos.length > 0;
  }

  /** Load everything, and follow the events from then on. */
  async open() {
    await this.#load();
    this.#follow();
  }

  /** Take rows that came with an answer; when the event that tells of them brings them again, nothing is drawn. */
  take(rows, removed = []) {
    let changed = false;
    for (const row of rows) {
      const text = JSON.stringify(row);
      if (this.photos.get(row.id)?.text === text) continue;
      this.photos.set(row.id, Object.assign(prepared(row), { text }));
      changed = true;
    }
    for (const id of removed) changed = this.photos.delete(id) || changed;
    if (changed) this.#tell("photos");
  }

  /** Take what an answer says of the library. */
  inform(changes) {
    this.info = { ...this.info, ...changes };
    this.#tell("info");
  }

  async #load() {
    const [info, { revision, photos }] = await Promise.all([get("library"), get("photos")]);
    await task();
    const rows = new Map(photos.map((row) => [row.id, prepared(row)]));
    await task();
    this.#revision = revision;
    this.photos = rows;
    this.complete = true;
    this.inform(info);
    this.#tell("photos");
  }

  async #catchUp() {
    if (this.#asking) {
      this.#again = true;
      return;
    }
    try {
      const wait = this.info.tagging.state === "running" ? GATHERED_TAGGING : GATHERED;
      await (this.#asking = new Promise((resolve) => setTimeout(resolve, wait)));
      const { revision, photos, removed, complete } = await get(`photos?since=${this.#revision}`);
      this.#revision = revision;
      if (complete) this.photos.clear(); // the program began anew
      this.take(photos, removed);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the stream of events will tell that it is away
    } finally {
      this.#asking = null;
    }
    if (this.#again) {
      this.#again = false;
      this.#catchUp();
    }
  }

  #follow() {
    const events = new EventSource("api/events");
    const on = (name, use) => events.addEventListener(name, (event) => use(JSON.parse(event.data)));
    on("photos", ({ revision }) => {
      if (revision !== this.#revision) this.#catchUp();
    });
    on("tagging", (tagging) => this.inform({ tagging }));
    on("library", (info) => this.inform(info));
    events.onopen = async () => {
      if (this.connection === "here") return;
      try {
        await this.#load(); // whatever happened meanwhile
        this.#connect("here");
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        events.close();
        this.#retry(error);
      }
    };
    events.onerror = async () => {
      events.close(); // a browser's own retries end at the first answer that is no stream
      const error = await get("library").then(() => null, (failure) => failure);
      this.#retry(error);
    };
  }

  #retry(error) {
    this.#connect(error?.status === 401 ? "ended" : "away");
    if (this.connection === "away") setTimeout(() => this.#follow(), AGAIN);
  }

  #connect(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.#tell("connection");
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}

/** Go on in a task of its own, so that none is long. */
const task = () => new Promise((resolve) => setTimeout(resolve));

function prepared(row) {
  row.time = row.taken ? Date.parse(row.taken) : NaN;
  row.clock = row.taken ? Date.parse(`${row.taken.slice(0, 19)}Z`) : NaN; // what the camera's showed, wherever one looks
  // What the view finds out about a row is kept in it: all rows have the same fields, which makes them fast to go through.
  return Object.assign(row, { mask: null, rank: 0, grouped: null, key: null, path: null, searchable: null });
}
