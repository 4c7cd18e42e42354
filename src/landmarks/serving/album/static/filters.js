/** Which photos are shown: kinds with their counts, and the text that is searched for. */

/** From this probability on, an answer is sure enough to be confirmed together with others. */
const SURE = 0.95;

const isTagged = (row) => row.state === "tagged" && row.verdict !== "rejected";

/** Of one kind a photo may be any that is chosen; of two kinds it must be both. */
export const FILTERS = [
  { key: "tagged", kind: "state", icon: "tag", name: "Tagged", test: isTagged },
  {
    key: "unsure", kind: "state", icon: "unsure", name: "Unsure", hint: "Tagged with less than 95 %, and not judged yet",
    test: (row) => isTagged(row) && !row.verdict && row.probability !== null && row.probability < SURE,
  },
  { key: "confirmed", kind: "state", icon: "check", name: "Confirmed", test: (row) => row.verdict === "confirmed" },
  { key: "rejected", kind: "state", icon: "cross", name: "Rejected", test: (row) => row.verdict === "rejected" },
  {
    key: "unknown", kind: "state", icon: "unknown", name: "Unknown", hint: "Nothing that the model knows",
    test: (row) => row.state === "unknown" && !row.verdict,
  },
  {
    key: "waiting", kind: "state", icon: "wait", name: "Waiting", hint: "Not looked at yet",
    test: (row) => row.state === "waiting",
  },
  { key: "unreadable", kind: "state", icon: "warning", name: "Unreadable", test: (row) => row.state === "unreadable" },
  {
    key: "estimated", kind: "state", icon: "estimated", name: "Estimated", hint: "Probably taken there, from photos before and after",
    test: (row) => row.source === "estimated" && isTagged(row),
  },
  { key: "nowhere", kind: "position", icon: "nowhere", name: "No position", test: (row) => row.latitude === null },
];

/** What may be confirmed with others: sure, and not judged yet. */
export const isSure = (row) => isTagged(row) && !row.verdict && row.name_of_tag !== null && row.probability >= SURE;

/** Small letters without accents, so that "orsay" finds "Musée d'Orsay" and "musee" too. */
const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/**
 * Return {rows, counts}: the rows that match everything, and for each filter how many it would show.
 * `wanted` is {keys: Set of filters, text, only: Map of ids or null}.
 */
export function filtered(photos, { keys, text, only }) {
  const words = folded(text).split(/\s+/).filter(Boolean);
  const [states, positions] = ["state", "position"].map((kind) => maskOf((one) => one.kind === kind && keys.has(one.key)));
  const [ofState, ofPosition] = ["state", "position"].map((kind) => maskOf((one) => one.kind === kind));
  const counts = new Array(FILTERS.length).fill(0);
  const rows = [];
  for (const row of photos) {
    if (only && !only.has(row.id)) continue;
    if (words.length && !words.every((word) => searchable(row).includes(word))) continue;
    // Which filters a row passes does not change: a photo that changes comes as another row.
    row.mask ??= maskOf(({ test }) => test(row));
    const stateFits = !states || (row.mask & states) !== 0;
    const positionFits = !positions || (row.mask & positions) !== 0;
    const counted = row.mask & ((positionFits ? ofState : 0) | (stateFits ? ofPosition : 0));
    for (let at = 0; at < counts.length; at += 1) counts[at] += (counted >> at) & 1;
    if (stateFits && positionFits) rows.push(row);
  }
  return { rows, counts: Object.fromEntries(FILTERS.map(({ key }, at) => [key, counts[at]])) };
}

/** A bit for each filter that `test(filter)` holds for. */
function maskOf(test) {
  let mask = 0;
  for (let at = 0; at < FILTERS.length; at += 1) if (test(FILTERS[at])) mask |= 1 << at;
  return mask;
}

function searchable(row) {
  row.searchable ??= folded([row.name, row.folder, ...row.tags, row.city, row.country, row.camera].filter(Boolean).join(" "));
  return row.searchable;
}
