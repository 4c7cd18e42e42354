/** What leaves the page: text to copy, JSON, CSV, and what the service makes XMP of. */

import { keptTags, tagsOf } from "./photos.js";

const COLUMNS = [
  "file", "name", "level", "probability", "city", "country", "country_code", "latitude", "longitude", "wikidata",
  "verdict", "model", "error",
];

/** Keywords of a photo, as photo programs take them: from the landmark up to the country. */
export function keywordsOf(photo, onlyConfirmed) {
  const words = keptTags(photo, onlyConfirmed).flatMap((tag) => [tag.name, tag.place?.city, tag.place?.country]);
  return [...new Set(words.filter(Boolean))].join(", ");
}

/** A line for each photo that has tags. */
export function asText(photos, onlyConfirmed) {
  return photos
    .map((photo) => [photo.file.name, keywordsOf(photo, onlyConfirmed)])
    .filter(([, words]) => words)
    .map((line) => line.join("\t"))
    .join("\n");
}

export function asJson(photos, onlyConfirmed) {
  const rows = photos.map((photo) => ({
    file: photo.file.name,
    tags: keptTags(photo, onlyConfirmed),
    rejected: photo.verdict === "rejected" ? tagsOf(photo) : [],
    candidates: photo.answer?.candidates ?? [],
    known: photo.answer?.known ?? false,
    verdict: photo.verdict,
    model: photo.answer?.model ?? null,
    error: photo.error,
  }));
  return JSON.stringify({ photos: rows }, null, 2) + "\n";
}

/** One row a tag, and one without a name for a photo that has none (RFC 4180). */
export function asCsv(photos, onlyConfirmed) {
  const rows = photos.flatMap((photo) => {
    // A rejected tag keeps its name: the verdict beside it says that it is none.
    const tags = photo.verdict === "rejected" ? tagsOf(photo) : keptTags(photo, onlyConfirmed);
    const common = { file: photo.file.name, verdict: photo.verdict, model: photo.answer?.model, error: photo.error };
    return (tags.length ? tags : [{}]).map((tag) => ({ ...tag.place, ...tag, ...common }));
  });
  return [COLUMNS, ...rows.map((row) => COLUMNS.map((column) => row[column]))].map(csvLine).join("");
}

function csvLine(values) {
  return values.map(csvCell).join(",") + "\r\n";
}

function csvCell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would run a name that begins like a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** What `v1/xmp` is sent. */
export function forXmp(photos, onlyConfirmed) {
  return photos
    .map((photo) => ({ file: photo.file.name.slice(0, 255), tags: keptTags(photo, onlyConfirmed) }))
    .filter(({ tags }) => tags.length > 0);
}

/** Save a blob under a name, as a download. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
