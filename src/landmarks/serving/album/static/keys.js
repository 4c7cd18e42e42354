/** The keys, as people know them from culling photos: one table for what they do and for the help. */

import { isDialogOpen } from "./dialogs.js";

/** What the help shows; `writes` if it changes something. */
export const HELP = [
  { show: "← → ↑ ↓", text: "Go to the next photo; with Shift: select" },
  { show: "Home End", text: "First and last photo" },
  { show: "Space Enter", text: "Show large, and back" },
  { show: "C", text: "Confirm", writes: true },
  { show: "X", text: "Reject", writes: true },
  { show: "E", text: "It is something else", writes: true },
  { show: "U", text: "Take back the verdict", writes: true },
  { show: "T", text: "Teach from the selected photos", writes: true },
  { show: "S", text: "Show photos that look like this one" },
  { show: "A", text: "Select all in view, or none" },
  { show: "G", text: "Select the group" },
  { show: "Esc", text: "Select nothing; close" },
  { show: "Z", text: "Undo; with Shift: redo", writes: true },
  { show: "/", text: "Search" },
  { show: "+ - 0", text: "Large: zoom in, zoom out, whole photo" },
  { show: "H I", text: "Large: heat map, facts" },
  { show: "?", text: "These keys" },
];

/** Call `onSheet` or `onLightbox` for each key; both are {name of key: function(event)}. */
export function followKeys({ onSheet, onLightbox, isLightboxOpen, isSheet }) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || isDialogOpen() || isTyped(event)) return;
    const held = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (held && key !== "z" && key !== "a") return;
    // A button does what its own keys mean.
    if ((key === " " || key === "Enter") && event.target.closest?.("button, a, summary, [role=slider]")) return;
    const keys = isLightboxOpen() ? onLightbox : isSheet() ? onSheet : { z: onSheet.z, "?": onSheet["?"], "/": onSheet["/"] };
    const action = keys[key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

function isTyped(event) {
  return event.target.closest?.("input:not([type=range]), select, textarea, .slippy") && event.key !== "Escape";
}
