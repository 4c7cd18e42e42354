/** In which order photos are shown, and under which headings. */

import { day, days, month, named } from "./words.js";

const HOUR = 3600e3;
const TRIP_ENDS = 36 * HOUR; // without a photo
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export const SORTS = {
  newest: "Newest first",
  oldest: "Oldest first",
  name: "File name",
  doubtful: "Least certain first",
  certain: "Most certain first",
};

export const GROUPS = {
  none: "No groups",
  landmark: "Landmark",
  place: "Place",
  day: "Day",
  month: "Month",
  trip: "Trip",
  confidence: "Confidence",
  folder: "Folder",
};

/** Sort rows; photos without a time, or without a probability, come last. */
export function sorted(rows, sort) {
  if (sort === "name") {
    const folders = new Map();
    for (const row of rows) {
      if (!folders.has(row.folder)) folders.set(row.folder, `${inOrder(row.folder)}/`);
      row.path ??= folders.get(row.folder) + inOrder(row.name);
    }
    return rows.toSorted((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : one.id - other.id));
  }
  const field = sort === "newest" || sort === "oldest" ? "time" : "probability";
  const sign = sort === "newest" || sort === "certain" ? -1 : 1;
  for (const row of rows) row.rank = row[field] === null || Number.isNaN(row[field]) ? Infinity : sign * row[field];
  return rows.toSorted((one, other) => one.rank - other.rank || one.id - other.id);
}

/** A name as text that sorts by its letters and numbers; comparing 20,000 with a collator takes a quarter of a second. */
function inOrder(name) {
  const plain = /^[ -~]*$/.test(name) ? name : name.normalize("NFD").replace(/\p{M}/gu, "");
  return plain.toLowerCase().replaceAll("_", " ").replace(/\d+/g, (digits) => digits.padStart(20, "0"));
}

/** Return sections [{key, title, detail, rows}] of rows that are sorted. */
export function grouped(rows, group, sort) {
  if (group === "none" || rows.length === 0) return rows.length ? [{ key: "all", title: "", detail: "", rows }] : [];
  if (group === "trip") return trips(rows, sort);
  const { keyOf, head } = KINDS[group];
  const sections = new Map();
  for (const row of rows) {
    // A photo that changes comes as another row, so that what was found of it stays right.
    if (row.grouped !== group) Object.assign(row, { grouped: group, key: keyOf(row) });
    const { key } = row;
    const section = sections.get(key);
    if (section) section.rows.push(row);
    else sections.set(key, { key, detail: "", ...head(row, key), rows: [row] });
  }
  const list = [...sections.values()];
  // Days and months are in the order of the photos, unless these are sorted by something else.
  if (group === "day" || group === "month") {
    const sign = sort === "oldest" ? 1 : -1;
    const when = ({ order }) => order ?? sign * Infinity; // without a date: last
    return list.sort((one, other) => sign * (when(one) - when(other)) || 0);
  }
  return list.sort((one, other) => (one.order ?? 0) - (other.order ?? 0) || collator.compare(one.title, other.title));
}

/** For each kind of group: `keyOf` a row, which is asked of every photo, and the heading, which is made once. */
const KINDS = {
  landmark: {
    keyOf: (row) => row.name_of_tag ?? row.rejected.at(-1) ?? ` ${row.state}`,
    head: (row) => {
      const title = named(row);
      if (title) return { title, detail: [row.city, row.country].filter((part) => part && part !== title).join(", ") };
      if (row.state === "unknown") return { title: "Unknown", order: 1 };
      return { title: row.state === "waiting" ? "Not looked at yet" : "Unreadable", order: 2 };
    },
  },
  place: {
    keyOf: (row) => `${row.city ?? ""}|${row.country ?? ""}`,
    head: (row) => {
      const title = [row.city, row.country].filter(Boolean).join(", ");
      return title ? { title } : { title: "No place", order: 1 };
    },
  },
  day: { keyOf: (row) => row.taken?.slice(0, 10) ?? "", head: (row, key) => dated(row, key, day) },
  month: { keyOf: (row) => row.taken?.slice(0, 7) ?? "", head: (row, key) => dated(row, key, month) },
  confidence: {
    keyOf: (row) => (row.probability === null ? STEPS.length : STEPS.findIndex(([least]) => row.probability >= least)),
    head: (_, key) => ({ title: STEPS[key]?.[1] ?? "No probability", order: key }),
  },
  folder: { keyOf: (row) => row.folder, head: (row) => ({ title: row.folder || "The folder itself" }) },
};

const STEPS = [[0.95, "95 % and more"], [0.8, "80 to 95 %"], [0.5, "50 to 80 %"], [0, "Below 50 %"]];

function dated(row, key, text) {
  return key ? { title: text(row.clock), order: Date.parse(key) } : { title: "No date" };
}

/** A trip is a run of photos with no long pause; it is named after where most of them were taken. */
function trips(rows, sort) {
  const timed = rows.filter((row) => !Number.isNaN(row.time)).sort((one, other) => one.time - other.time);
  const found = [];
  for (const row of timed) {
    const trip = found.at(-1);
    if (trip && row.time - trip.at(-1).time <= TRIP_ENDS) trip.push(row);
    else found.push([row]);
  }
  const order = new Map(rows.map((row, at) => [row.id, at]));
  const sections = found.map((trip) => ({
    key: String(trip[0].id),
    title: days(trip[0].clock, trip.at(-1).clock),
    detail: mostly(trip),
    rows: trip.sort((one, other) => order.get(one.id) - order.get(other.id)),
  }));
  if (sort !== "oldest") sections.reverse();
  const others = rows.filter((row) => Number.isNaN(row.time));
  if (others.length) sections.push({ key: "-", title: "No date", detail: "", rows: others });
  return sections;
}

function mostly(rows) {
  const counts = new Map();
  for (const row of rows) {
    const place = row.city ?? row.country;
    if (place && row.verdict !== "rejected") counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  return [...counts].sort(([, one], [, other]) => other - one).slice(0, 3).map(([place]) => place).join(", ");
}
