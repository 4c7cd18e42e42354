/** The page: photos come in by choice, drop and paste, and go through the queue to the cards and the map. */

import { getLand, getLandmarks, getModels, ServiceError, useKey, xmp } from "./api.js";
import { about } from "./about.js";
import { Cards } from "./cards.js";
import { byId, copy, el, oncePerFrame } from "./dom.js";
import { asCsv, asJson, asText, forXmp, keywordsOf, save } from "./exports.js";
import { WorldMap } from "./map.js";
import { isUnderWay, Photos, tagsOf } from "./photos.js";
import { Queue } from "./queue.js";
import { sampleButtons } from "./samples.js";

const XMP_AT_A_TIME = 200; // the most that the service takes in a request
const COPIED_SECONDS = 3;
const AGAIN_SECONDS = 3; // before the next try to learn what the service knows

/** What is shown, by the value of the choice. */
const SHOWN = {
  all: () => true,
  tagged: (photo) => tagsOf(photo).length > 0,
  unknown: (photo) => photo.state === "done" && tagsOf(photo).length === 0,
  open: (photo) => photo.state === "done" && !photo.verdict,
  confirmed: (photo) => photo.verdict === "confirmed",
  rejected: (photo) => photo.verdict === "rejected",
  failed: (photo) => photo.state === "failed",
};

/** The name of the group of a photo, by the value of the choice. */
const GROUPED = {
  none: null,
  landmark: (photo) => tagsOf(photo)[0]?.name,
  country: (photo) => tagsOf(photo)[0]?.place?.country,
};

const photos = new Photos();
const service = { version: null, search: false, maxBytes: Infinity, places: new Map() };
const queue = new Queue(photos, () => service.maxBytes, askForKey, follow);
const onlyConfirmed = byId("only-confirmed");

const cards = new Cards(byId("photos"), photos, {
  retry: (photo) => queue.add(photo),
  copy: (photo) => copied(keywordsOf(photo, false)),
  placeOf: (className) => service.places.get(className) ?? null,
  search: () => service.search,
});

let away = ""; // what was last said of a service that could not be asked
let map = null; // until the outline of the land has come; photos are taken before

function add(files) {
  notice("");
  for (const file of files) photos.add(file);
}

/** Take what was dropped or pasted. */
function take({ files, types }) {
  add(files);
  if (files.length === 0 && types.some((type) => type.startsWith("text/"))) {
    notice("This is text or a link, not a picture: save the picture, and choose the file.");
  }
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

async function copied(text) {
  if (!text) {
    notice("There are no tags to copy.");
    return;
  }
  if (!(await copy(text))) {
    notice("The browser does not let this page copy: download the tags instead.");
    return;
  }
  byId("summary").textContent = "Copied";
  setTimeout(summarise, COPIED_SECONDS * 1000);
}

/** Run what a button does, and say what goes wrong. */
function doing(action) {
  return async () => {
    notice("");
    try {
      await action();
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      notice(error.message);
    }
  };
}

function download(text, kind, name) {
  save(new Blob([text], { type: kind }), name);
}

async function downloadXmp() {
  const wanted = forXmp(photos.all(), onlyConfirmed.checked);
  if (wanted.length === 0) {
    notice("There are no tags to write.");
    return;
  }
  if (wanted.length === 1) {
    save(await xmp(wanted), `${wanted[0].file}.xmp`);
    return;
  }
  for (let at = 0; at < wanted.length; at += XMP_AT_A_TIME) {
    save(await xmp(wanted.slice(at, at + XMP_AT_A_TIME)), at ? `xmp-${at / XMP_AT_A_TIME + 1}.zip` : "xmp.zip");
  }
}

function summarise() {
  const all = photos.all();
  const done = all.filter((photo) => photo.state === "done");
  const failed = all.filter((photo) => photo.state === "failed").length;
  const tagged = done.filter((photo) => tagsOf(photo).length > 0).length;
  const parts = [`${done.length + failed} of ${all.length} photos done`, `${tagged} tagged`, `${done.length - tagged} unknown`];
  if (failed) parts.push(`${failed} failed`);
  const shown = cards.filter(SHOWN[byId("show").value]);
  cards.group(GROUPED[byId("group").value]);
  if (shown < all.length) parts.push(`${shown} shown`);
  byId("summary").textContent = parts.join(", ");
  byId("undo").disabled = !photos.canUndo;
  byId("progress").max = Math.max(1, all.length);
  byId("progress").value = done.length + failed;
  byId("progress").hidden = done.length + failed === all.length;
  document.body.classList.toggle("has-photos", all.length > 0 || photos.canUndo);
}

function askForKey() {
  if (!byId("key-form").hidden) return;
  byId("key-form").hidden = false;
  byId("key").focus();
}

async function worldMap() {
  return new WorldMap(byId("map"), byId("map-text"), photos, await getLand(), (photo) => cards.focus(photo));
}

async function meet() {
  const { models: [model], search, limits } = await getModels();
  service.search = search;
  service.maxBytes = limits.max_file_bytes;
  const { features } = await getLandmarks();
  for (const { geometry, properties } of features) {
    const { classes, ...rest } = properties;
    const [longitude, latitude] = geometry?.coordinates ?? [null, null];
    for (const name of classes) service.places.set(name, { ...rest, longitude, latitude });
  }
  map.showKnown(features);
  showKnown(features);
  cards.refresh();
  service.version = model.version;
  byId("model").textContent = `${model.name}: knows ${model.landmarks} landmarks`;
  byId("about-text").replaceChildren(...about(model));
  byId("about").hidden = false;
}

/** Meet a model anew that was replaced while the page was open; answers of the old one keep their places. */
function follow({ model }) {
  if (service.version === null || model === service.version) return;
  service.version = model; // once for all answers that come meanwhile
  start();
}

/** The names of the landmarks that the model knows, to look through. */
function showKnown(features) {
  const lines = features.map(({ properties: { name, city, country } }) =>
    [name, ...[city, country].filter((part) => part && part !== name)].join(", ")
  ).sort();
  const draw = () => {
    const wanted = byId("known-find").value.trim().toLowerCase();
    const found = lines.filter((line) => line.toLowerCase().includes(wanted));
    byId("known-list").replaceChildren(...found.map((line) => el("li", {}, line)));
  };
  byId("known-find").oninput = draw;
  draw();
  byId("known").hidden = false;
}

/** Learn what the service knows; returns whether it refused the API key. */
async function start() {
  try {
    map ??= await worldMap();
    await meet();
    if (byId("notice").textContent === away) notice("");
    return false;
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    const refused = error.status === 401;
    if (refused) askForKey();
    else notice(away = error.message);
    if (error.passes) setTimeout(start, Math.max(AGAIN_SECONDS, error.retryAfter) * 1000);
    return refused;
  }
}

// New photos, and those that undo brings back before they were answered.
photos.onChange((photo, what) => {
  if (what === "added" && isUnderWay(photo)) queue.add(photo);
});

photos.onChange(oncePerFrame(summarise));

const drop = byId("drop");
byId("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (!event.target.closest?.("input")) take(event.clipboardData);
});

byId("samples").append(...sampleButtons(add));
byId("copy").onclick = doing(() => copied(asText(photos.all(), onlyConfirmed.checked)));
byId("json").onclick = () => download(asJson(photos.all(), onlyConfirmed.checked), "application/json", "landmarks.json");
byId("csv").onclick = () => download(asCsv(photos.all(), onlyConfirmed.checked), "text/csv", "landmarks.csv");
byId("xmp").onclick = doing(downloadXmp);
byId("clear").onclick = () => {
  photos.remove(...photos.all());
  byId("files").focus();
};
byId("undo").onclick = () => photos.undo();
byId("show").onchange = summarise;
byId("group").onchange = summarise;
document.addEventListener("keydown", (event) => {
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.closest?.("input:not([type=checkbox])")) return;
  event.preventDefault();
  photos.undo();
});
// Verdicts live in this page alone, and so do the photos that are not answered yet.
window.addEventListener("beforeunload", (event) => {
  if (photos.all().some((photo) => photo.verdict || isUnderWay(photo))) event.preventDefault();
});
byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKey(byId("key").value);
  byId("key-form").hidden = true;
  notice("");
  queue.useKey();
  if (await start()) notice("The service does not accept this key.");
});

const photoOf = (target) => photos.all().find(({ id }) => String(id) === target.closest?.(".card")?.dataset.id);
byId("photos").addEventListener("focusin", (event) => map?.light(photoOf(event.target)));
byId("photos").addEventListener("pointerover", (event) => map?.light(photoOf(event.target)));

await start();
