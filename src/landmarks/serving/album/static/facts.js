/** What is known of the photo in the lightbox: what it may show, why, what it looks like, and facts of the file. */

import { el } from "./shared/dom.js";
import { nearButton } from "./near.js";
import { bytes, degrees, fallback, moment, named, sentence, share } from "./words.js";

const POSITIONS = {
  camera: "from the camera",
  landmark: "of the landmark, as the camera noted none",
  town: "the middle of the town",
  estimated: "the middle of the town, estimated from photos taken before and after",
};

/** Facts that the row has; `detail` is null until the program has answered. `actions` are {pick(candidate), open(id)}. */
export function facts(row, detail, library, actions) {
  return [
    ...(row.reason ? [el("p", { class: "notice" }, row.reason)] : []),
    ...(fallback(row) ? [el("p", { class: "quiet" }, fallback(row))] : []),
    ...candidates(row, detail, actions),
    ...reasons(detail),
    ...neighbours(detail, library, actions),
    ...file(row, detail),
  ];
}

function candidates(row, detail, { pick }) {
  if (!detail?.candidates.length) return [];
  const lines = detail.candidates.map((candidate) => {
    const where = [candidate.city, candidate.country].filter((part) => part && part !== candidate.name).join(", ");
    const present = candidate.name === row.name_of_tag;
    const label = `It is this: ${candidate.name}`;
    const onclick = () => pick(candidate);
    const button = el("button", { type: "button", class: "writes", "aria-label": label, onclick }, "It is this");
    return el(
      "li", {},
      el("div", {}, el("strong", {}, candidate.name), where ? el("span", { class: "quiet" }, where) : null,
        el("meter", { min: 0, max: 1, value: candidate.probability, "aria-label": `Probability of ${candidate.name}` })),
      el("span", { class: "share" }, share(candidate.probability)),
      present ? el("span", { class: "quiet" }, "the tag") : button,
    );
  });
  return [el("h3", {}, named(row) ? "What it may be" : "Closest guesses"), el("ul", { class: "candidates" }, ...lines)];
}

function reasons(detail) {
  return detail?.reasons ? [el("h3", {}, "Why?"), el("p", { class: "reasons" }, detail.reasons)] : [];
}

function neighbours(detail, library, { open }) {
  const found = (detail?.neighbours ?? []).filter(({ id }) => library.photos.has(id)).slice(0, 6);
  if (!found.length) return [];
  const pictures = found.map(({ id, similarity }) => {
    const other = library.photos.get(id);
    return nearButton(other, `${sentence(other)}, similarity ${share(similarity)}`, () => open(id), named(other));
  });
  return [el("h3", {}, "Nearest confirmed photos"), el("div", { class: "neighbours" }, ...pictures)];
}

function size(detail) {
  if (!detail) return "";
  const pixels = detail.width ? `${detail.width} × ${detail.height}, ` : ""; // not known of what is unreadable
  return pixels + bytes(detail.size);
}

function file(row, detail) {
  const lines = [
    ["File", row.name],
    ["Folder", row.folder || "the folder itself"],
    ["Taken", Number.isNaN(row.time) ? "" : moment(row.clock)],
    ["Camera", row.camera],
    ["Position", row.latitude === null ? "not known" : `${degrees(row.latitude, row.longitude)}, ${POSITIONS[row.position] ?? ""}`],
    ["Size", size(detail)],
    ["Tags", row.tags.join(", ")],
    ["Rejected", row.rejected.join(", ")],
    ["Path", detail?.path],
  ].filter(([, value]) => value);
  return [el("h3", {}, "Facts"), el("dl", {}, ...lines.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))];
}
