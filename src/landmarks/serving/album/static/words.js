/** How photos, times and numbers read. */

/** A formatter that is made when it is first needed: each takes 10 ms. */
const late = (make) => {
  let made = null;
  return () => (made ??= make());
};
/** For what a clock showed, as if it were UTC. */
const dates = (options) => late(() => new Intl.DateTimeFormat(undefined, { timeZone: "UTC", ...options }));
const dayFormat = dates({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const shortFormat = dates({ day: "numeric", month: "long", year: "numeric" });
const monthFormat = dates({ month: "long", year: "numeric" });
const momentFormat = dates({ dateStyle: "medium", timeStyle: "short" });
const numberFormat = late(() => new Intl.NumberFormat());

export const number = (value) => numberFormat().format(value);
export const photos = (count) => (count === 1 ? "1 photo" : `${number(count)} photos`);
export const day = (clock) => dayFormat().format(clock);
export const month = (clock) => monthFormat().format(clock);
export const moment = (clock) => momentFormat().format(clock);

/** A probability; 95 and 100 are never reached by rounding, because they mean something. */
export function share(value) {
  const rounded = Math.round(value * 100);
  const raised = (rounded === 95 || rounded === 100) && value * 100 < rounded;
  return `${raised ? rounded - 1 : rounded} %`;
}

/** From one day to another, in as few words as tell them; whoever flies west may land before the start. */
export const days = (first, last) => shortFormat().formatRange(Math.min(first, last), Math.max(first, last));

/** What a photo shows, whatever the verdict; empty if nobody knows. */
export const named = (row) => row.name_of_tag ?? row.rejected.at(-1) ?? "";

/** The same in words for people: a place that is only estimated is told so. */
export const told = (row) => (row.source === "estimated" && row.name_of_tag ? `Probably ${row.name_of_tag}` : named(row));

/** The state of a photo in a word: never by colour alone. */
export function stateOf(row) {
  if (row.verdict === "confirmed") return { key: "confirmed", icon: "check", text: "confirmed" };
  if (row.verdict === "rejected") return { key: "rejected", icon: "cross", text: "rejected" };
  if (row.state === "unreadable") return { key: "unreadable", icon: "warning", text: "unreadable" };
  if (row.state === "waiting") return { key: "waiting", icon: "wait", text: "not looked at yet" };
  if (row.state === "unknown") return { key: "unknown", icon: "unknown", text: "unknown" };
  if (row.source === "estimated") return { key: "estimated", icon: "estimated", text: "estimated from other photos" };
  return { key: "tagged", icon: null, text: "not judged yet" };
}

/** A photo in one sentence, for screen readers. */
export function sentence(row) {
  const name = told(row);
  const parts = [name || (row.state === "unknown" ? "Unknown" : ""), row.probability === null ? "" : share(row.probability)];
  const { text, key } = stateOf(row);
  if (key !== "unknown") parts.push(text);
  return [...parts, row.name].filter(Boolean).join(", ");
}

/** Why nothing can be written here, in a sentence; empty if it can. */
export function whyReadOnly({ read_only: looked, locked }) {
  if (!looked) return "";
  const reason = locked ? "This folder cannot be written" : "This library is opened read-only";
  return `${reason}: nothing can be confirmed, rejected or taught.`;
}

const LEVELS = { city: ", but the city", country: ", but the country", kind: "; this is its kind" };

/** What the tag of a photo is if it is no landmark. */
export const fallback = (row) => (LEVELS[row.level] && row.source === "photo" ? `Not sure which landmark${LEVELS[row.level]}.` : "");

export function bytes(size) {
  return size < 1e6 ? `${Math.max(1, Math.round(size / 1e3))} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

export function degrees(latitude, longitude) {
  const one = (value, letters) => `${Math.abs(value).toFixed(4)}° ${letters[value < 0 ? 1 : 0]}`;
  return `${one(latitude, "NS")} ${one(longitude, "EW")}`;
}
