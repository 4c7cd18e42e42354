/** What mouse and finger do on the sheet. */

const LONG = 450; // milliseconds of a long press
const STILL = 8; // pixels that a finger may slip

/** `open(id)` shows a photo large; `order()` are the rows as they are shown. */
export function followPointer(list, selection, { order, open }) {
  let press = null;
  let swallowed = false; // the click after a long press
  const idOf = (event) => {
    const cell = event.target.closest?.(".cell");
    return cell ? Number(cell.id.slice("photo-".length)) : null;
  };

  list.addEventListener("click", (event) => {
    const id = idOf(event);
    if (id === null) return;
    if (swallowed) {
      swallowed = false;
      return;
    }
    const touch = event.pointerType === "touch";
    if (event.shiftKey) selection.extend(id, order());
    else if (event.ctrlKey || event.metaKey || event.target.closest(".tick") || (touch && selection.ids.size)) selection.toggle(id);
    else if (touch) open(id);
    else selection.go(id);
  });
  list.addEventListener("dblclick", (event) => {
    const id = idOf(event);
    if (id !== null && !event.shiftKey && !event.ctrlKey && !event.target.closest(".tick")) open(id);
  });

  const forget = () => {
    clearTimeout(press?.timer);
    press = null;
  };
  list.addEventListener("pointerdown", (event) => {
    const id = idOf(event);
    swallowed = false;
    if (event.pointerType !== "touch" || id === null) return;
    const timer = setTimeout(() => {
      swallowed = true;
      selection.toggle(id);
      navigator.vibrate?.(15);
    }, LONG);
    press = { x: event.clientX, y: event.clientY, timer };
  });
  list.addEventListener("pointermove", (event) => {
    if (press && Math.hypot(event.clientX - press.x, event.clientY - press.y) > STILL) forget();
  });
  for (const name of ["pointerup", "pointercancel"]) list.addEventListener(name, forget);
  list.addEventListener("contextmenu", (event) => {
    if (swallowed) event.preventDefault();
  });
}
