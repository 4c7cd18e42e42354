/** The album: puts the parts together, and says which key and button does what. */

import { ApiError, get, getLand } from "./api.js";
import { Bar } from "./bar.js";
import { byId } from "./shared/dom.js";
import { filtered, isSure } from "./filters.js";
import { Grid } from "./grid.js";
import { grouped, sorted } from "./groups.js";
import { icon } from "./icons.js";
import { followKeys, HELP } from "./keys.js";
import { Library } from "./library.js";
import { Lightbox } from "./lightbox.js";
import { MapView } from "./mapview.js";
import { buildPicked, showPicked } from "./picked.js";
import { followPointer } from "./pointer.js";
import { askMany, askPlace, showKeys, showLink } from "./questions.js";
import { Review } from "./review.js";
import { Scrubber } from "./scrubber.js";
import { Selection } from "./selection.js";
import { Status } from "./status.js";
import { Suggestions } from "./suggestions.js";
import { askTeach } from "./teach.js";
import { say, toast } from "./toast.js";
import { photos, whyReadOnly } from "./words.js";

const VIEWS = ["photos", "map", "suggested"];
const MANY = 100; // photos from which on a key asks first
const FIRST = 300; // milliseconds for the first photos before all others are listed
const SIMILAR = 60; // photos that look like one

const library = new Library();
const review = new Review(library);
const selection = new Selection();
const bar = new Bar();
const grid = new Grid(byId("scroller"), selection);
const scrubber = new Scrubber(byId("scrubber"), byId("scroller"), grid);
const lightbox = new Lightbox(library, {
  confirm: (row) => judge("confirm", [row]),
  reject: (row) => judge("reject", [row]),
  clear: (row) => review.clear([row]),
  rename: (row) => rename([row]),
  similar: showSimilar,
  pick: (row, candidate) => (candidate.name === row.name_of_tag ? judge("confirm", [row]) : review.rename([row], candidate)),
});
const suggestions = new Suggestions(library, { teach, show: showInGrid, open: (id, rows) => lightbox.open(id, () => rows) });
new Status(library);

let asked = null; // a promise of the land for the maps, which are not needed at first
let map = null;
let shown = []; // rows of the view, in order
let waiting = 0; // the frame in which the view is drawn next

const currentView = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "photos");

/** The land for the maps, or null where it cannot be had just now, which is told. */
async function land() {
  try {
    return await (asked ??= getLand());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    asked = null;
    toast(error.message, {}, "bad");
    return null;
  }
}

/** Draw the view; `fresh` if it is another one than before, which begins at its top. */
function draw(fresh = false) {
  cancelAnimationFrame(waiting);
  waiting = 0;
  const { wanted } = bar;
  const { rows, counts } = filtered(library.photos.values(), wanted);
  const rank = ({ id }) => wanted.only.get(id);
  shown = wanted.ranked ? rows.toSorted((one, other) => rank(one) - rank(other)) : sorted(rows, wanted.sort);
  const group = wanted.ranked ? "none" : wanted.group;
  if (library.complete) bar.count(counts, shown.length, library.photos.size, shown.filter(isSure).length);
  const byTime = !wanted.ranked && ["newest", "oldest"].includes(wanted.sort) && ["none", "day", "month", "trip"].includes(group);
  grid.show(grouped(shown, group, wanted.sort), fresh);
  scrubber.show(byTime);
  byId("empty").hidden = shown.length > 0;
  byId("empty-title").textContent = library.photos.size ? "No photo matches" : "No photos here yet";
  byId("empty-text").textContent = library.photos.size
    ? "Choose another filter, or search for something else."
    : `Put photos into ${library.info.root}: they appear by themselves.`;
  byId("empty-all").hidden = library.photos.size === 0;
  if (currentView() === "map") map?.show(shown);
  pick();
}

/** Show what can be done with the photos that are meant. */
function pick() {
  showPicked(currentView() === "photos" ? targets() : [], selection.ids.size > 0);
}

/** Draw once for all that changes within a frame. */
function drawSoon() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    draw();
  });
}

async function showView() {
  const view = currentView();
  for (const each of VIEWS) {
    byId(`view-${each}`).hidden = each !== view;
    if (each === view) byId(`to-${each}`).setAttribute("aria-current", "page");
    else byId(`to-${each}`).removeAttribute("aria-current");
  }
  byId("bar").hidden = view === "suggested";
  byId("order").hidden = view !== "photos";
  pick();
  if (view === "map") {
    const outline = await land();
    if (outline) map ??= new MapView(outline, { show: showInGrid, open: (id, rows) => lightbox.open(id, () => rows) });
    map?.show(shown);
  }
  if (view === "suggested") await suggestions.show();
  if (view === "photos") grid.focus();
}

/** Show these photos alone, in the sheet. */
function showInGrid(rows) {
  bar.limit(rows.map(({ id }) => id), `Only ${photos(rows.length)}`);
  location.hash = "photos";
}

/** Show the photos that look most like one. */
async function showSimilar(row) {
  if (!row) return;
  try {
    const found = await get(`similar?id=${row.id}&limit=${SIMILAR}`);
    if (!found.length) {
      toast("There is nothing to compare with yet: the photos have not been looked at.", {}, "bad");
      return;
    }
    await lightbox.close();
    bar.limit([row.id, ...found.map(({ id }) => id).filter((id) => id !== row.id)], `Like ${row.name}`, true);
    location.hash = "photos";
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, {}, "bad");
  }
}

/** What keys and buttons act on in the sheet: what is selected, or else the photo with the keyboard. */
function targets() {
  const ids = selection.ids.size ? [...selection.ids] : [selection.active];
  return ids.map((id) => library.photos.get(id)).filter((row) => row && (selection.ids.size || grid.index.has(row.id)));
}

/** What they act on: the large photo, or else what is meant in the sheet. */
const meant = () => (lightbox.isOpen ? [lightbox.row].filter(Boolean) : targets());

/** Confirm or reject, and go on to the next photo, as one culls. */
async function judge(verdict, rows = meant()) {
  if (!rows.length) return;
  const fitting = rows.filter(({ name_of_tag: name }) => name);
  if (!fitting.length) {
    toast("There is no tag to judge. Say what it is with E.");
    return;
  }
  const verb = verdict === "confirm" ? "Confirm" : "Reject";
  if (fitting.length > MANY && !(await askMany(fitting, written(), verb, "The selected photos:"))) return;
  const done = review[verdict](fitting);
  if (lightbox.isOpen) lightbox.step(1);
  else advance();
  await done;
}

/** After a step on one photo, the next has the keyboard; after one on a selection, nothing is selected. */
function advance() {
  if (selection.ids.size) {
    selection.clear();
    return;
  }
  const next = grid.neighbour({ columns: 1 });
  if (next === null) return;
  selection.go(next);
  grid.reveal(next);
}

async function rename(rows = meant()) {
  if (!rows.length) return;
  const place = await askPlace(rows);
  if (place?.fresh) await teach(rows, place.fresh);
  else if (place) {
    const done = review.rename(rows, place);
    if (!lightbox.isOpen) advance();
    await done;
  }
}

async function teach(rows = meant(), name = "") {
  if (!rows.length) return;
  const outline = await land();
  const given = outline && (await askTeach(rows, outline, name));
  if (!given) return;
  const more = { "Review it": async () => { await lightbox.close(); location.hash = "photos"; bar.find(given.name); } };
  if (await review.teach(rows, given.name, given.position, more)) selection.clear();
  if (currentView() === "suggested") await suggestions.show();
}

async function confirmSure() {
  const rows = shown.filter(isSure);
  const which = "All photos in this view that have a tag with at least 95 % and that nobody has judged yet:";
  if (await askMany(rows, written(), "Confirm", which)) await review.confirm(rows);
}

const written = () => (library.info.in_place ? "the photos" : "sidecars beside the photos");

/** Move the keyboard; with Shift it selects. */
function move(where) {
  return (event) => {
    const id = grid.neighbour(where);
    if (id === null) return;
    if (event.shiftKey) selection.extend(id, grid.layout.order);
    else selection.go(id);
    grid.focus();
    grid.reveal(id);
  };
}

function large(id = selection.active) {
  if (id === null || !grid.index.has(id)) return;
  const order = grid.layout.order; // as it is now: what is judged stays between its neighbours
  lightbox.open(id, () => order);
}

/** What changes something: in a library that is opened read-only it says why nothing happens. */
const writing = (action) => (event) => {
  const reason = whyReadOnly(library.info);
  if (reason) toast(reason, {}, "bad");
  else action(event);
};

const help = () => showKeys(HELP.filter(({ writes }) => !writes || !library.info.read_only));

const undo = (event) => (event?.shiftKey ? review.redo() : review.undo());

/** Keys that mean the same in the sheet and of a large photo. */
const common = {
  c: writing(() => judge("confirm")), x: writing(() => judge("reject")), e: writing(() => rename()),
  u: writing(() => review.clear(meant())), t: writing(() => teach()), s: () => showSimilar(meant()[0]),
  z: writing(undo), "?": help,
};

followKeys({
  isLightboxOpen: () => lightbox.isOpen,
  isSheet: () => currentView() === "photos",
  onSheet: {
    ...common,
    ArrowRight: move({ columns: 1 }), ArrowLeft: move({ columns: -1 }), ArrowDown: move({ rows: 1 }), ArrowUp: move({ rows: -1 }),
    Home: move({ end: 0 }), End: move({ end: -1 }),
    PageDown: (event) => byId("scroller").scrollBy(0, byId("scroller").clientHeight * 0.9) || event,
    PageUp: (event) => byId("scroller").scrollBy(0, -byId("scroller").clientHeight * 0.9) || event,
    " ": () => large(), Enter: () => large(),
    a: () => selection.toggleAll(grid.layout.order.map(({ id }) => id)),
    g: () => selection.active !== null && selection.toggleAll(grid.groupOf(selection.active).map(({ id }) => id)),
    Escape: () => escape(), "/": () => byId("search").focus(),
  },
  onLightbox: {
    ...common,
    ArrowRight: () => lightbox.step(1), ArrowLeft: () => lightbox.step(-1),
    ArrowDown: () => lightbox.step(1), ArrowUp: () => lightbox.step(-1),
    " ": () => lightbox.close(), Enter: () => lightbox.close(), Escape: () => lightbox.close(),
    "+": () => lightbox.zoom(1.5), "=": () => lightbox.zoom(1.5), "-": () => lightbox.zoom(1 / 1.5), 0: () => lightbox.fit(),
    h: () => lightbox.heat(), i: () => lightbox.toggleFacts(),
  },
});

/** Esc takes back one thing at a time: what is selected, what is searched for, the photos of a pin. */
function escape() {
  if (document.activeElement === byId("search")) grid.focus();
  else if (selection.ids.size) selection.clear();
  else if (bar.wanted.only) bar.limit(null);
}

followPointer(byId("cells"), selection, { order: () => grid.layout.order, open: large });
buildPicked({
  confirm: () => judge("confirm"), reject: () => judge("reject"), rename: () => rename(), teach: () => teach(),
  take: () => review.clear(targets()), similar: () => showSimilar(targets()[0]),
  large: () => large(targets()[0]?.id), none: () => selection.clear(),
});
for (const [id, sign] of Object.entries({
  undo: "undo", redo: "redo", help: "help", link: "phone", sure: "check", only: "cross", all: "grid",
  "to-photos": "grid", "to-map": "map", "to-suggested": "idea",
})) byId(id).prepend(icon(sign));
byId("undo").onclick = () => review.undo();
byId("redo").onclick = () => review.redo();
byId("help").onclick = help;
byId("link").onclick = () => showLink();
byId("sure").onclick = confirmSure;
byId("empty-all").onclick = () => bar.reset();
byId("skip").onclick = (event) => {
  event.preventDefault();
  location.hash = "photos";
  grid.focus();
};

grid.cell = bar.cell;
bar.addEventListener("changed", () => {
  draw(true);
  say(byId("shown-count").textContent);
});
bar.addEventListener("sized", () => (grid.cell = bar.cell));
selection.addEventListener("change", pick);
lightbox.addEventListener("shown", ({ detail }) => grid.index.has(detail) && selection.point(detail));
lightbox.addEventListener("closed", ({ detail }) => grid.reveal(detail));
library.addEventListener("photos", () => {
  drawSoon();
  if (currentView() === "suggested") suggestions.refresh();
});
window.addEventListener("hashchange", showView);

try {
  if (currentView() !== "photos" || !bar.isNewestFirst) byId("early").remove();
  const begun = currentView() === "photos" && bar.isNewestFirst && library.begin();
  if (begun) {
    draw(true);
    byId("loading").hidden = true;
    const pictures = [...document.querySelectorAll(".cell img[src]")].map((image) => image.decode());
    const pause = new Promise((resolve) => setTimeout(resolve, FIRST)); // some may have to be made
    await Promise.race([Promise.allSettled(pictures), pause]);
  }
  await library.open();
  draw(!begun);
  byId("early")?.remove();
  byId("loading").hidden = true;
  await showView();
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  byId("early")?.remove();
  byId("loading").hidden = false;
  byId("loading").textContent = error.message;
}
