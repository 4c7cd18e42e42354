/** One photo as a card in the list. */

import { search, ServiceError } from "./api.js";
import { el, percent } from "./dom.js";
import { tagsOf } from "./photos.js";

const FALLBACKS = {
  city: "Not sure which landmark, but the city",
  country: "Not sure which landmark, but the country",
  kind: "Not sure which landmark; this is its kind",
};

export class Cards {
  #list;
  #photos;
  #actions;
  #cards = new Map();

  /** `actions` are {retry(photo), copy(photo), placeOf(className), search(): boolean}. */
  constructor(list, photos, actions) {
    this.#list = list;
    this.#photos = photos;
    this.#actions = actions;
    photos.onChange((photo, what) => this.#follow(photo, what));
    list.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Draw the answers again that came before the page knew the places and whether the service can search. */
  refresh() {
    for (const photo of this.#photos.all()) if (photo.state === "done") this.#show(photo, this.#cards.get(photo.id));
  }

  /** Show the photos for which `wanted(photo)` holds; returns how many. */
  filter(wanted) {
    let shown = 0;
    const held = this.#list.contains(document.activeElement) ? document.activeElement.closest(".card") : null;
    for (const photo of this.#photos.all()) {
      const visible = wanted(photo);
      this.#cards.get(photo.id).card.hidden = !visible;
      shown += visible;
    }
    if (held?.hidden) this.#beside(held)?.focus();
    return shown;
  }

  /** Put the photos under headings by `nameOf(photo)`, those without a name last; or, without it, as they came. */
  group(nameOf) {
    const all = this.#photos.all().map((photo) => ({ name: nameOf?.(photo) ?? "", card: this.#cards.get(photo.id).card }));
    if (nameOf) all.sort((one, other) => !one.name - !other.name || one.name.localeCompare(other.name));
    const wanted = [];
    let section = null;
    for (const { name, card } of all) {
      if (nameOf && section?.name !== name) {
        section = { name, heading: el("li", { class: "group" }, el("h3", {}, name || "Without a place")), cards: [] };
        wanted.push(section.heading);
      }
      section?.cards.push(card);
      if (section) section.heading.hidden = section.cards.every((each) => each.hidden);
      wanted.push(card);
    }
    const now = [...this.#list.children];
    const same = now.length === wanted.length && wanted.every((each, at) => each === now[at] || each.isEqualNode(now[at]));
    if (same) return;
    // Moving a card would take the focus from it.
    const held = this.#list.contains(document.activeElement) ? document.activeElement : null;
    this.#list.replaceChildren(...wanted);
    held?.focus({ preventScroll: true });
  }

  focus(photo) {
    const { card } = this.#cards.get(photo.id);
    card.hidden = false;
    card.focus();
    card.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  #follow(photo, what) {
    if (what === "added") this.#add(photo);
    const entry = this.#cards.get(photo.id);
    if (what === "removed") {
      const next = entry.card.contains(document.activeElement) ? this.#beside(entry.card) : null;
      entry.card.remove();
      this.#cards.delete(photo.id);
      next?.focus();
      return;
    }
    this.#show(photo, entry);
  }

  /** The card to go on with when one goes: the next that is shown, or else the one before. */
  #beside(card) {
    const cards = [...this.#list.querySelectorAll(".card")].filter((each) => each === card || !each.hidden);
    const place = cards.indexOf(card);
    return cards[place + 1] ?? cards[place - 1];
  }

  #add(photo) {
    const image = el("img", { src: photo.url, alt: `Photo ${photo.file.name}`, loading: "lazy", decoding: "async" });
    const thumb = el("div", { class: "thumb" }, image);
    // What the browser cannot show has a picture once the service has answered.
    const blank = el("div", { class: "blank" }, "no preview");
    image.onerror = () => image.replaceWith(blank);
    const onclick = () => this.#photos.remove(photo);
    thumb.append(el("button", { class: "remove", type: "button", "aria-label": `Remove ${photo.file.name}`, onclick }, "✕"));
    const body = el("div", { class: "body" });
    const card = el("li", { class: "card", tabIndex: 0, "data-id": photo.id }, thumb, body);
    this.#cards.set(photo.id, { card, body, state: null, image, blank });
    this.#list.append(card); // `group` puts it where it belongs, before it is seen
  }

  #show(photo, entry) {
    const bar = entry.body.querySelector("progress");
    if (photo.state === "sending" && entry.state === "sending" && bar) {
      bar.value = photo.progress;
      return;
    }
    entry.state = photo.state;
    if (photo.answer?.preview && entry.image.src !== photo.answer.preview) {
      entry.image.src = photo.answer.preview;
      entry.blank.replaceWith(entry.image);
    }
    entry.card.className = `card ${photo.verdict ?? ""}`;
    entry.card.setAttribute("aria-label", `${photo.file.name}: ${inWords(photo)}`);
    const held = entry.body.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    const open = new Set([...entry.body.querySelectorAll("details[open]")].map((each) => each.dataset.part));
    const name = el("p", { class: "file quiet", title: photo.file.name }, photo.file.name);
    entry.body.replaceChildren(name, ...this.#content(photo));
    // Drawing anew must move neither the focus nor what was opened.
    for (const each of entry.body.querySelectorAll("details")) each.open = open.has(each.dataset.part);
    if (held) (entry.body.querySelector(`[data-action="${held}"]`) ?? entry.card).focus();
  }

  #content(photo) {
    if (photo.state === "waiting") return [el("p", {}, "Waiting")];
    if (photo.state === "busy") return [el("p", {}, `${photo.error} Trying again soon.`)];
    if (photo.state === "sending") {
      return [el("progress", { value: photo.progress, max: 1, "aria-label": `Sending ${photo.file.name}` })];
    }
    if (photo.state === "failed") {
      const told = el("p", { class: "error" }, photo.error);
      if (!photo.again) return [told];
      const onclick = () => this.#actions.retry(photo);
      const again = el("button", { type: "button", "data-action": "retry", onclick }, "Try again");
      return [told, el("div", { class: "choices" }, again)];
    }
    return [...this.#said(photo), ...this.#choices(photo), ...this.#details(photo)];
  }

  #said(photo) {
    const [tag] = tagsOf(photo);
    const verdict = { confirmed: "✓ Confirmed", rejected: "✕ Rejected: never written as a tag" }[photo.verdict];
    const told = verdict ? el("p", { class: "verdict" }, verdict) : null;
    if (!tag) {
      const text = photo.answer.known
        ? "It looks like something I know, but I am not sure enough to name it."
        : "This shows nothing that I know.";
      return [el("h3", {}, "I don't know"), el("p", { class: "quiet" }, text), ...(told ? [told] : [])];
    }
    const parts = [el("h3", {}, tag.name)];
    const where = whereOf(tag);
    if (where) parts.push(el("p", { class: "quiet" }, where));
    if (!photo.chosen && FALLBACKS[tag.level]) parts.push(el("p", { class: "quiet" }, FALLBACKS[tag.level]));
    if (photo.chosen) parts.push(el("p", { class: "quiet" }, "You said so."));
    else parts.push(share(tag.probability, `Probability of ${tag.name}`));
    if (told) parts.push(told);
    return parts;
  }

  #choices(photo) {
    const button = (action, label, properties, onclick) =>
      el("button", { type: "button", "data-action": action, onclick, ...properties }, label);
    const pressed = (verdict) => String(photo.verdict === verdict);
    const [tag] = tagsOf(photo);
    if (!tag) return [];
    const row = el(
      "div",
      { class: "choices" },
      button("confirm", "Confirm", { class: "yes", "aria-pressed": pressed("confirmed"), "aria-label": `Confirm ${tag.name}` },
        () => this.#photos.judge(photo, "confirmed")),
      button("reject", "Reject", { class: "no", "aria-pressed": pressed("rejected"), "aria-label": `Reject ${tag.name}` },
        () => this.#photos.judge(photo, "rejected")),
      button("copy", "Copy", { "aria-label": `Copy tags of ${photo.file.name}` }, () => this.#actions.copy(photo)),
    );
    return [row];
  }

  #details(photo) {
    const candidates = photo.answer.candidates.map((candidate) => {
      const pick = el("button", { type: "button", "data-action": `pick ${candidate.class_name}`,
        "aria-label": `It is this: ${candidate.name}`,
        onclick: () => this.#photos.choose(photo, this.#asTag(photo, candidate)) }, "It is this");
      const name = el("div", { class: "pick" }, el("span", {}, candidate.name), pick);
      return el("li", {}, name, share(candidate.probability, `Probability of ${candidate.name}`));
    });
    const reasons = photo.answer.reasons.map((reason) => el("li", {}, reason));
    const parts = [
      part("candidates", tagsOf(photo).length ? "Is it something else?" : "Closest guesses", el("ul", { class: "list" }, ...candidates)),
      part("why", "Why?", el("ul", { class: "list" }, ...reasons)),
    ];
    if (this.#actions.search()) parts.push(this.#lookAlikes(photo));
    return parts;
  }

  #lookAlikes(photo) {
    const list = el("ul", { class: "list" });
    const details = part("alike", "Look-alikes", list);
    let asked = false; // and not refused
    details.addEventListener("toggle", async () => {
      if (!details.open || asked) return;
      asked = true;
      list.replaceChildren(el("li", { role: "status" }, "Looking…"));
      try {
        const found = (photo.alike ??= await search(photo.file));
        list.replaceChildren(...found.map((each) => el(
          "li", {},
          each.picture ? el("img", { class: "alike", src: each.picture, alt: "" }) : null,
          each.name, share(Math.max(0, each.similarity), `Similarity of ${each.name}`),
        )));
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error;
        asked = false;
        list.replaceChildren(el("li", { class: "error" }, error.message));
      }
    });
    return details;
  }

  #asTag(photo, { class_name, name }) {
    // A landmark that was taught is no class of the model: only its tag has the place.
    const tagged = photo.answer.tags.find((tag) => tag.name === name && tag.level === "landmark");
    const place = tagged?.place ?? this.#actions.placeOf(class_name);
    return { name, level: "landmark", probability: 1, place }; // the user is sure
  }

  #key(event) {
    const card = event.target.closest(".card");
    if (!card || event.target !== card || event.ctrlKey || event.metaKey || event.altKey) return;
    const photo = this.#photos.all().find((each) => each.id === Number(card.dataset.id));
    const visible = [...this.#list.querySelectorAll(".card")].filter((each) => !each.hidden);
    const place = visible.indexOf(card);
    const actions = {
      ArrowRight: () => visible[place + 1]?.focus(),
      ArrowLeft: () => visible[place - 1]?.focus(),
      c: () => this.#photos.judge(photo, "confirmed"),
      r: () => this.#photos.judge(photo, "rejected"),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function part(name, title, ...content) {
  return el("details", { "data-part": name }, el("summary", {}, title), ...content);
}

function share(value, label) {
  const bar = el("meter", { min: 0, max: 1, value, "aria-label": label });
  return el("div", { class: "share" }, bar, el("span", {}, percent(value)));
}

function inWords(photo) {
  if (photo.state === "failed") return photo.error;
  if (photo.state !== "done") return "not done yet";
  const [tag] = tagsOf(photo);
  const said = tag ? `${tag.name}, ${percent(tag.probability)}` : "I don't know";
  return photo.verdict ? `${said}, ${photo.verdict}` : said;
}

/** City, country and position of a tag, as far as they say more than its name. */
export function whereOf(tag) {
  const place = tag.place;
  if (!place) return "";
  const names = [place.city, place.country].filter((name) => name && name !== tag.name);
  if (typeof place.latitude === "number") names.push(degrees(place.latitude, "N", "S") + " " + degrees(place.longitude, "E", "W"));
  return names.join(", ");
}

function degrees(value, positive, negative) {
  return `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;
}
