/** Make an element: properties are set, attributes (`aria-...`, `data-...`, `for`) too, children are appended. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.includes("-") || key === "for" || key === "role") element.setAttribute(key, value);
    else if (key === "class") element.className = value;
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an SVG element with attributes. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return a function that has `draw` run once in the next frame, however often it is called: many things change at once. */
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

/** Copy text, and return whether the browser did; without HTTPS its newer way is closed, the older one is not. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // the older way
  }
  const held = document.activeElement;
  const field = el("textarea", { value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(field); // beside a dialog nothing can be selected
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  held?.focus();
  return done;
}

export const byId = (id) => document.getElementById(id);

export const percent = (share) => `${(share * 100).toFixed(1)} %`;
