/** Makes photos small before they are sent: the service looks at 256 pixels of them, and an uplink may be slow. */

import { positionOf, withPosition } from "./exif.js";

const LONG_SIDE = 1024;
const QUALITY = 0.9;
const SMALL = 300_000; // bytes: not worth the work

/** Whether this browser can show a file; HEIC, TIFF and RAW are read by the service, but not by every browser. */
export async function canShow(file) {
  try {
    (await createImageBitmap(file)).close();
    return true;
  } catch {
    return false;
  }
}

/** Return a smaller JPEG with the photo's position and nothing else of its metadata, or the file as it is. */
export async function shrink(file) {
  if (file.size <= SMALL) return file;
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    return file; // the service may read what this browser cannot
  }
  const scale = LONG_SIDE / Math.max(image.width, image.height);
  const small = scale < 1 ? await drawn(image, scale) : null;
  image.close();
  if (!small || small.size >= file.size) return file;
  const position = await positionOf(file);
  return position ? withPosition(small, position) : small;
}

function drawn(image, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // what the service lays transparent pictures over
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}
