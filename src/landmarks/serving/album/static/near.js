/** A photo as a small button, as in strips and among neighbours. */

import { thumbnail } from "./api.js";
import { el } from "./shared/dom.js";

/** `label` is its name for screen readers, `caption` what stands below it. */
export function nearButton(row, label, onclick, caption = "") {
  const image = el("img", { src: thumbnail(row), alt: "", decoding: "async", loading: "lazy" });
  return el(
    "button", { type: "button", class: "near", title: caption || null, "aria-label": label, onclick },
    image, caption ? el("span", {}, caption) : null,
  );
}
