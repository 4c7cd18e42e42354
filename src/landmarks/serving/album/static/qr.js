/**
 * A link as a QR code, so that nobody types it into a phone: ISO/IEC 18004, bytes, error correction L, versions 1 to 5,
 * which have one block each, and mask 0, as a token is random enough.
 */

import { svg } from "./shared/dom.js";

const DATA = [19, 34, 55, 80, 108]; // codewords of data, by version
const CHECK = [7, 10, 15, 20, 26]; // and of error correction
const FORMAT = 0b111011111000100; // level L, mask 0
const QUIET = 4; // modules around it

/** Return the code as an image, or null if the text is too long for it. */
export function qrCode(text, label) {
  const dark = modules(text);
  if (!dark) return null;
  const size = dark.length + 2 * QUIET;
  const path = dark.flatMap((row, y) => row.map((on, x) => (on ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
  return svg(
    "svg", { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" },
    svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: path, fill: "#000" }),
  );
}

/** Return rows of modules, true where dark. */
export function modules(text) {
  const bytes = new TextEncoder().encode(text);
  const version = DATA.findIndex((capacity) => bytes.length + 2 <= capacity);
  if (version < 0) return null;
  const size = 21 + 4 * version;
  const grid = Array.from({ length: size }, () => new Array(size).fill(null));
  drawPatterns(grid, version);
  drawData(grid, codewords(bytes, DATA[version], CHECK[version]));
  return grid;
}

/** Mode, length, text and padding, and what corrects errors. */
function codewords(bytes, capacity, check) {
  // The mode takes half a byte, so that everything after it is shifted by one.
  const nibbles = [4, bytes.length >> 4, bytes.length & 15, ...[...bytes].flatMap((byte) => [byte >> 4, byte & 15]), 0];
  const data = [];
  for (let at = 0; at < nibbles.length; at += 2) data.push((nibbles[at] << 4) | nibbles[at + 1]);
  for (let pad = 0xec; data.length < capacity; pad ^= 0xec ^ 0x11) data.push(pad);
  return [...data, ...remainder(data, check)];
}

/** Reed-Solomon: the remainder of the data divided by (x - 1)(x - a)(x - a^2)... over the field of 256. */
function remainder(data, check) {
  let divisor = [1];
  for (let power = 0, root = 1; power < check; power += 1, root = times(root, 2)) {
    const next = [...divisor, 0];
    divisor.forEach((factor, at) => (next[at + 1] ^= times(factor, root)));
    divisor = next;
  }
  const rest = [...data, ...new Array(check).fill(0)];
  for (let at = 0; at < data.length; at += 1) {
    const factor = rest[at];
    divisor.forEach((one, offset) => (rest[at + offset] ^= times(one, factor)));
  }
  return rest.slice(data.length);
}

function times(one, other) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) product = (product << 1) ^ (product & 128 ? 0x11d : 0) ^ ((other >> bit) & 1 ? one : 0);
  return product;
}

/** What every code has: three finders, timing, alignment, and the format, twice. */
function drawPatterns(grid, version) {
  const size = grid.length;
  const square = (row, column, reach, dark) => {
    for (let y = -reach; y <= reach; y += 1) {
      for (let x = -reach; x <= reach; x += 1) {
        if (grid[row + y]?.[column + x] !== undefined) grid[row + y][column + x] = dark(Math.max(Math.abs(x), Math.abs(y)));
      }
    }
  };
  for (let at = 0; at < size; at += 1) grid[6][at] = grid[at][6] = at % 2 === 0;
  for (const [row, column] of [[3, 3], [3, size - 4], [size - 4, 3]]) square(row, column, 4, (ring) => ring !== 2 && ring !== 4);
  if (version > 0) square(size - 7, size - 7, 2, (ring) => ring !== 1);
  grid[size - 8][8] = true;
  for (let bit = 0; bit < 15; bit += 1) {
    const dark = ((FORMAT >> (14 - bit)) & 1) === 1;
    const near = bit < 8 ? [8, bit + (bit > 5)] : [bit === 8 ? 7 : 14 - bit, 8];
    const far = bit < 7 ? [size - 1 - bit, 8] : [8, size - 15 + bit];
    for (const [row, column] of [near, far]) grid[row][column] = dark;
  }
}

/** Two columns at a time from the right, upwards and downwards in turn, around what is drawn already. */
function drawData(grid, words) {
  const size = grid.length;
  let bit = 0;
  let upwards = true;
  for (let right = size - 1; right > 0; right -= 2, upwards = !upwards) {
    if (right === 6) right = 5; // the timing
    for (let step = 0; step < size; step += 1) {
      const row = upwards ? size - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (grid[row][column] !== null) continue;
        const on = ((words[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
        grid[row][column] = (on === 1) !== ((row + column) % 2 === 0);
        bit += 1;
      }
    }
  }
}
