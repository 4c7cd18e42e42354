/** The position in a photo's EXIF data: read from the file, and put alone into a smaller copy. */

const GPS_POINTER = 0x8825;
/** Latitude and longitude, each with its reference before it. */
const TAGS = [1, 2, 3, 4];
const RATIONALS = 24; // bytes of degrees, minutes and seconds

/** Return what the four GPS tags hold as `[reference, bytes, reference, bytes]`, or null where they are not all there. */
export async function positionOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const start = tiffStart(bytes);
  if (start < 0) return null;
  try {
    return readPosition(new DataView(bytes.buffer, start));
  } catch {
    return null; // an offset that leads out of the file
  }
}

/** Return a JPEG with a position put in. */
export function withPosition(jpeg, position) {
  return new Blob([jpeg.slice(0, 2), segment(position), jpeg.slice(2)], { type: "image/jpeg" });
}

/** EXIF begins with "Exif\0\0" in JPEG and HEIC, and with the name of a chunk in PNG and WebP. */
function tiffStart(bytes) {
  for (let at = bytes.indexOf(0x78); at > 0; at = bytes.indexOf(0x78, at + 1)) {
    const name = String.fromCharCode(...bytes.subarray(at - 1, at + 3));
    if (name === "Exif" && isTiff(bytes, at + 5)) return at + 5;
  }
  for (let at = bytes.indexOf(0x58); at > 0; at = bytes.indexOf(0x58, at + 1)) {
    const name = String.fromCharCode(...bytes.subarray(at - 1, at + 3));
    if (name === "eXIf" || name === "EXIF") {
      for (const start of [at + 3, at + 7]) if (isTiff(bytes, start)) return start;
    }
  }
  return -1;
}

function isTiff(bytes, at) {
  const head = String.fromCharCode(...bytes.subarray(at, at + 4));
  return head === "II*\0" || head === "MM\0*";
}

function readPosition(view) {
  const little = view.getUint8(0) === 0x49;
  const entries = (directory) => {
    const found = new Map();
    const count = view.getUint16(directory, little);
    for (let at = directory + 2; at < directory + 2 + 12 * count; at += 12) found.set(view.getUint16(at, little), at + 8);
    return found;
  };
  const pointer = entries(view.getUint32(4, little)).get(GPS_POINTER);
  if (pointer === undefined) return null;
  const gps = entries(view.getUint32(pointer, little));
  if (!TAGS.every((tag) => gps.has(tag))) return null;
  return TAGS.map((tag) => {
    const value = gps.get(tag);
    if (tag % 2) return view.getUint8(value);
    const numbers = [];
    for (let part = 0; part < RATIONALS; part += 4) numbers.push(view.getUint32(view.getUint32(value, little) + part, little));
    return numbers;
  });
}

/** The APP1 segment: a TIFF header, a directory that points to the GPS directory, and that. */
function segment([northSouth, latitude, eastWest, longitude]) {
  const [directory, gps, first, second, end] = [8, 26, 80, 104, 128];
  const view = new DataView(new ArrayBuffer(10 + end));
  view.setUint16(0, 0xffe1);
  view.setUint16(2, 8 + end);
  [..."Exif"].forEach((letter, at) => view.setUint8(4 + at, letter.charCodeAt(0)));
  const tiff = new DataView(view.buffer, 10);
  const entry = (at, tag, kind, count, value) => {
    tiff.setUint16(at, tag);
    tiff.setUint16(at + 2, kind);
    tiff.setUint32(at + 4, count);
    tiff.setUint32(at + 8, value);
  };
  tiff.setUint32(0, 0x4d4d002a);
  tiff.setUint32(4, directory);
  tiff.setUint16(directory, 1);
  entry(directory + 2, GPS_POINTER, 4, 1, gps);
  tiff.setUint16(gps, TAGS.length);
  entry(gps + 2, 1, 2, 2, northSouth * 2 ** 24);
  entry(gps + 14, 2, 5, 3, first);
  entry(gps + 26, 3, 2, 2, eastWest * 2 ** 24);
  entry(gps + 38, 4, 5, 3, second);
  latitude.forEach((number, at) => tiff.setUint32(first + 4 * at, number));
  longitude.forEach((number, at) => tiff.setUint32(second + 4 * at, number));
  return view.buffer;
}
