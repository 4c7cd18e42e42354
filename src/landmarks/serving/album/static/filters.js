/** Which photos are shown: kinds with their counts, and the text that is searched for. */

/** From this probability on, an answer is sure enough to be confirmed together with others. */
export const SURE = 0.95;

const isTagged = (row) => row.state === "tagged" && row.verdict !== "rejected";

/** Of one kind a photo may be any that is chosen; of two kinds it must be both. */
export const FILTERS = [
  { key: "tagged", kind: "state", icon: "tag", name: "Tagged", test: isTagged },
  {
    key: "unsure", kind: "state", icon: "unsure", name: "Unsure", hint: "Tagged with less than 95 %, and not judged yet",
    test: (row) => isTagged(row) && !row.verdict && row.probability < SURE,
  },
  { key: "confirmed", kind: "state", icon: "check", name: "Confirmed", test: (row) => row.verdict === "confirmed" },
  { key: "rejected", kind: "state", icon: "cross", name: "Rejected", test: (row) => row.verdict === "rejected" },
  {
    key: "unknown", kind: "state", icon: "unknown", name: "Unknown", hint: "Nothing that the model knows",
    test: (row) => row.state === "unknown" && !row.verdict,
  },
  { key: "waiting", kind: "state", icon: "wait", name: "Waiting", hint: "Not looked at yet", test: (row) => row.state === "waiting" },
  { key: "unreadable", kind: "state", icon: "warning", name: "Unreadable", test: (row) => row.state === "unreadable" },
  { key: "nowhere", kind: "position", icon: "nowhere", name: "No position", test: (row) => row.latitude === null },
];

/** What may be confirmed with others: sure, and not judged yet. */
export const isSure = (row) => isTagged(row) && !row.verdict && row.name_of_tag !== null && row.probability >= SURE;

/** Small letters without accents, so that "orsay" finds "Musée d'Orsay" and "musee" too. */
export const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/**
 * Return {rows, counts}: the rows that match everything, and for each filter how many it would show.
 * `wanted` is {keys: Set of filters, text, only: Set of ids or null}.
 */
export function filtered(photos, { keys, text, only }) {
  const words = folded(text).split(/\s+/).filter(Boolean);
  const kinds = [...new Set(FILTERS.map(({ kind }) => kind))];
  const chosen = kinds.map((kind) => FILTERS.filter((one) => one.kind === kind && keys.has(one.key)));
  const counts = Object.fromEntries(FILTERS.map(({ key }) => [key, 0]));
  const rows = [];
  for (const row of photos) {
    if (only && !only.has(row.id)) continue;
    if (words.length && !words.every((word) => searchable(row).includes(word))) continue;
    const fits = chosen.map((some) => some.length === 0 || some.some(({ test }) => test(row)));
    for (const { key, kind, test } of FILTERS) {
      if (fits.every((fit, at) => fit || kinds[at] === kind) && test(row)) counts[key] += 1;
    }
    if (fits.every(Boolean)) rows.push(row);
  }
  return { rows, counts };
}

function searchable(row) {
  row.searchable ??= folded([row.name, row.folder, ...row.tags, row.city, row.country, row.camera].filter(Boolean).join(" "));
  return row.searchable;
}
