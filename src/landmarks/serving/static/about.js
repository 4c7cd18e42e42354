/** What the model may be used for, what it learnt from, and what its thresholds lead to. */

import { el, percent } from "./dom.js";

const LICENCES = { none: "no licence", "not stated": "licence not stated" };

/** Return the paragraphs and the table about a model of `/v1/models`. */
export function about(model) {
  const parts = [el("p", {}, `Licence of the model: ${model.licence}.`)];
  if (model.origin.length > 0) {
    const items = model.origin.map(({ collection, pictures, licence }) => {
      const count = pictures > 0 ? `${pictures} pictures, ` : "";
      return el("li", {}, `${collection}: ${count}${LICENCES[licence] ?? licence}`);
    });
    parts.push(el("p", {}, "It learnt from:"), el("ul", {}, ...items));
  }
  const points = Object.entries(model.operating_points);
  if (points.length > 0) parts.push(table(points, model));
  if (model.rates_note) parts.push(el("p", {}, model.rates_note));
  return parts;
}

function table(points, { prefer, min_confidence: own, rate_labels: labels }) {
  const measured = Object.keys(labels).filter((rate) => points.some(([, { expected }]) => rate in expected));
  const head = el("tr", {}, cell("th", "Rates to expect", "col"), ...points.map(([name]) => cell("th", name, "col")));
  const rows = measured.map((rate) =>
    el("tr", {}, cell("th", labels[rate], "row"), ...points.map(([, { expected }]) => cell("td", shown(expected[rate]))))
  );
  const instead = own === null ? "" : `, but with a minimum confidence of ${percent(own)}`;
  const caption = el("caption", {}, `Operating points; in use: ${prefer}${instead}`);
  return el("div", { class: "scroll" }, el("table", {}, caption, el("thead", {}, head), el("tbody", {}, ...rows)));
}

const cell = (kind, text, scope) => el(kind, { scope }, text);

const shown = (rate) =>
  rate === undefined ? "–" : `${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`;
