/** Names of towns for what a map shows. */

import { ApiError, get } from "./api.js";

const PAUSE = 250; // milliseconds without a move after which names are asked for
const timers = new WeakMap();
const asked = new WeakMap();

/** Have the towns of the part that a map shows fetched once it rests. */
export function followTowns(map) {
  const { north, west, south, east } = map.bounds;
  const box = [south, west, north, east].map((value) => value.toFixed(2));
  if (asked.get(map) === box.join()) return;
  asked.set(map, box.join());
  clearTimeout(timers.get(map));
  timers.set(map, setTimeout(async () => {
    try {
      map.towns = await get(`towns?south=${box[0]}&west=${box[1]}&north=${box[2]}&east=${box[3]}&limit=60`);
      map.draw();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // a map without names is still a map
    }
  }, PAUSE));
}
