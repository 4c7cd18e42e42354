/** Pictures to try the page with: drawn here, so that nothing is loaded and no photo is needed. */

import { el } from "./dom.js";

const WIDTH = 480;
const HEIGHT = 360;
const HORIZON = 250;
const QUALITY = 0.9;

const SCENES = { "a circle of stones": stones, "a pyramid": pyramids, "a lighthouse": lighthouse };

/** Return a button for each picture; `add([file])` gets what was drawn. */
export function sampleButtons(add) {
  return Object.entries(SCENES).map(([name, draw]) =>
    el("button", { type: "button", onclick: () => add([drawn(name, draw)]) }, name)
  );
}

function drawn(name, draw) {
  const canvas = el("canvas", { width: WIDTH, height: HEIGHT });
  draw(canvas.getContext("2d"));
  // Not toBlob, which waits for idle time: on a busy phone nothing would happen for seconds.
  const letters = atob(canvas.toDataURL("image/jpeg", QUALITY).split(",")[1]);
  const content = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  return new File([content], `drawn ${name.replace(/^an? /, "")}.jpg`, { type: "image/jpeg" });
}

function backdrop(context, [high, low], ground) {
  const sky = context.createLinearGradient(0, 0, 0, HORIZON);
  sky.addColorStop(0, high);
  sky.addColorStop(1, low);
  context.fillStyle = sky;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  context.fillStyle = ground;
  context.fillRect(0, HORIZON, WIDTH, HEIGHT - HORIZON);
}

function polygon(context, colour, ...points) {
  context.fillStyle = colour;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.fill();
}

function pyramids(context) {
  backdrop(context, ["#6fa8dc", "#dbe9f4"], "#d9b779");
  for (const [middle, height, base] of [[370, 90, 262], [190, 190, 280]]) {
    const half = height * 0.85;
    polygon(context, "#c9a461", [middle - half, base], [middle, base - height], [middle + half, base]);
    polygon(context, "#9c7a42", [middle + half * 0.35, base], [middle, base - height], [middle + half, base]);
    context.strokeStyle = "rgb(90 65 30 / 25%)";
    for (let row = 8; row < height; row += 8) {
      const wide = (half * row) / height;
      context.strokeRect(middle - wide, base - height + row, 2 * wide, 0);
    }
  }
}

function lighthouse(context) {
  backdrop(context, ["#4f8fc4", "#e8f1f6"], "#2f6d8c");
  polygon(context, "#6d6a63", [120, 290], [180, 262], [320, 258], [400, 296], [400, 360], [100, 360]);
  for (let band = 0; band < 5; band += 1) {
    const [top, next] = [110 + band * 31, 141 + band * 31];
    const [narrow, wide] = [22 + band * 3, 25 + band * 3];
    polygon(context, band % 2 ? "#f5f2ea" : "#c2352b", [240 - narrow, top], [240 + narrow, top], [240 + wide, next], [240 - wide, next]);
  }
  polygon(context, "#333a3f", [212, 110], [212, 104], [268, 104], [268, 110]);
  polygon(context, "#ffe9a8", [224, 104], [224, 78], [256, 78], [256, 104]);
  polygon(context, "#8f2a22", [218, 78], [240, 58], [262, 78]);
}

function stones(context) {
  backdrop(context, ["#8fb3cf", "#eef3f4"], "#7e9a55");
  const stone = (x, y, width, height, colour) =>
    polygon(context, colour, [x, y], [x + 3, y - height], [x + width - 4, y - height - 3], [x + width, y]);
  for (const x of [95, 150, 300, 350]) stone(x, 264, 26, 78, "#8a8880");
  for (const x of [95, 300]) stone(x - 6, 184, 94, 18, "#97958c");
  for (const x of [60, 125, 215, 285, 375]) stone(x, 296, 34, 118, "#6f6d66");
  for (const x of [60, 215]) stone(x - 6, 176, 112, 22, "#7d7b73");
}
