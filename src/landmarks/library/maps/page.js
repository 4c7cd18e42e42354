const { land, towns, photos } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const PAGE = 60; // photos that the list shows at once

let chosen = photos;

function look(items) {
  const [{ title, index }] = items;
  const name = items.length > 1 ? `${title} and ${items.length - 1} more` : title;
  const pressed = chosen !== photos && chosen.every((photo) => items.includes(photo));
  return { key: index, text: items.length > 1 ? String(items.length) : "", name, pressed };
}

function choose(some) {
  chosen = some;
  const count = some.length === 1 ? "1 photo" : `${some.length} photos`;
  $("chosen").textContent = some === photos ? `All ${count}` : count;
  $("list").replaceChildren();
  more();
  $("photos").scrollTop = 0;
}

function more() {
  const shown = $("list").children.length;
  $("list").append(...chosen.slice(shown, shown + PAGE).map(item));
  $("more").hidden = $("list").children.length >= chosen.length;
}

function item(photo) {
  const picture = photo.thumbnail
    ? made("img", { src: photo.thumbnail, alt: "" })
    : made("span", { className: "none" });
  const where = photo.source === "camera" ? "" : `at the ${photo.source}, as the camera's position is unknown`;
  const lines = [photo.tags.join("; "), photo.taken, where].filter(Boolean).map((text) => made("span", {}, text));
  const text = made("div", {}, made("strong", {}, photo.name), ...lines);
  return made("li", {}, made("a", { href: photo.href, target: "_blank", rel: "noopener" }, picture, text));
}

function showAll() {
  choose(photos);
  map.fit(photos);
}

const map = new SlippyMap($("map"), land, look, {
  all: showAll,
  chosen: (items) => {
    choose(items);
    if (items.length > 1) map.fit(items);
    else map.draw();
  },
});
photos.forEach((photo, index) => Object.assign(photo, { index, point: project(photo.latitude, photo.longitude) }));
map.items = photos;
map.towns = towns;
$("count").textContent = photos.length === 1 ? "1 photo" : `${photos.length} photos`;
$("more").addEventListener("click", more);
showAll();
