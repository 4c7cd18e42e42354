// node recognise.mjs MODEL PHOTO...: the five likeliest classes of each photo, as `landmarks predict` says them.
// MODEL is a folder made by `landmarks export`. Run `npm install` in this folder first.
import {readFile} from "node:fs/promises";
import path from "node:path";
import * as ort from "onnxruntime-web";
import sharp from "sharp";
import {prepare, softmax} from "./preprocess.mjs";

/** Decode a photo upright, as RGB. In a browser, draw it on a canvas and leave out every fourth value. */
async function decode(file) {
  const upright = sharp(file).rotate().flatten({background: "white"}).toColourspace("srgb").removeAlpha();
  const {data, info} = await upright.raw().toBuffer({resolveWithObject: true});
  return {width: info.width, height: info.height, data};
}

const [folder, ...photos] = process.argv.slice(2);
const model = JSON.parse(await readFile(path.join(folder, "model.json"), "utf8"));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(path.join(folder, "model.onnx")));

for (const photo of photos) {
  const crop = model.preprocessing.crop;
  const pixels = prepare(await decode(photo), model.preprocessing);
  const pictures = new ort.Tensor("uint8", pixels, [1, crop, crop, 3]);
  const {logits} = await session.run({pictures}, ["logits"]);
  const candidates = softmax(logits.data, model.temperature)
    .map((probability, index) => ({class_name: model.classes[index], probability}))
    .filter(({class_name}) => class_name.replace(/^\d+\./, "").toLowerCase() !== "background")
    .sort((a, b) => b.probability - a.probability)
    .slice(0, 5);
  console.log(JSON.stringify({path: photo, candidates}));
}
