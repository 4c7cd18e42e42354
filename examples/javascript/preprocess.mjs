// The preprocessing contract of a landmarks model, without any library: it runs in Node and in browsers alike.
// A picture is {width, height, data}, data holding red, green, blue of each pixel, row by row, 0 to 255.

/**
 * Resize so that the short side has `resize` pixels, then cut out the middle square of `crop` pixels; or, where `fit` is
 * "squash", resize the whole picture to that square.
 */
export function prepare(picture, {resize, crop, fit}) {
  if (fit === "squash") return resizeTo(picture, crop, crop).data;
  const {width, height} = picture;
  const short = Math.min(width, height);
  const side = (length) => (length === short ? resize : Math.floor((resize * length) / short));
  return centerCrop(resizeTo(picture, side(width), side(height)), crop);
}

/** Bilinear with antialias, as Pillow and torchvision do it: each pixel is a mean of all that it covers. */
function resizeTo(picture, width, height) {
  const wide = alongRows(picture, width);
  return transpose(alongRows(transpose(wide), height));
}

function alongRows({width, height, data}, newWidth) {
  const result = new Uint8Array(newWidth * height * 3);
  const scale = width / newWidth;
  const reach = Math.max(scale, 1); // a triangle as wide as the pixels that are left out
  for (let x = 0; x < newWidth; x++) {
    const center = (x + 0.5) * scale;
    const from = Math.max(0, Math.floor(center - reach + 0.5));
    const to = Math.min(width, Math.floor(center + reach + 0.5));
    const weights = [];
    for (let i = from; i < to; i++) weights.push(Math.max(0, 1 - Math.abs((i + 0.5 - center) / reach)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let y = 0; y < height; y++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let i = from; i < to; i++) sum += weights[i - from] * data[(y * width + i) * 3 + channel];
        result[(y * newWidth + x) * 3 + channel] = Math.floor(sum / total + 0.5);
      }
    }
  }
  return {width: newWidth, height, data: result};
}

function transpose({width, height, data}) {
  const result = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        result[(x * height + y) * 3 + channel] = data[(y * width + x) * 3 + channel];
      }
    }
  }
  return {width: height, height: width, data: result};
}

function centerCrop({width, height, data}, crop) {
  const top = halfToEven((height - crop) / 2);
  const left = halfToEven((width - crop) / 2);
  const result = new Uint8Array(crop * crop * 3);
  for (let y = 0; y < crop; y++) {
    const begin = ((top + y) * width + left) * 3;
    result.set(data.subarray(begin, begin + crop * 3), y * crop * 3);
  }
  return result;
}

function halfToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** Logits to probabilities; `temperature` comes from model.json. */
export function softmax(logits, temperature) {
  const scaled = Array.from(logits, (value) => value / temperature);
  const largest = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}
