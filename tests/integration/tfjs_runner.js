// Runs a TensorFlow.js graph model on photos: node tfjs_runner.js NODE_MODULES MODEL PHOTOS ANSWER SIDE
"use strict";
const fs = require("fs");
const path = require("path");

const [, , modules, folder, photos, answer, side] = process.argv;
const installed = (name) => require(path.resolve(modules, "@tensorflow", name));
const tf = installed("tfjs-core");
installed("tfjs-backend-cpu");
const wasm = installed("tfjs-backend-wasm");
const { GraphModel } = installed("tfjs-converter");

async function main() {
  wasm.setWasmPaths(path.resolve(modules, "@tensorflow/tfjs-backend-wasm/dist") + path.sep);
  await tf.setBackend("wasm");
  const stored = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const names = stored.weightsManifest.flatMap((group) => group.paths);
  const content = Buffer.concat(names.map((name) => fs.readFileSync(path.join(folder, name))));
  const model = new GraphModel(
    tf.io.fromMemory({
      modelTopology: stored.modelTopology,
      weightSpecs: stored.weightsManifest.flatMap((group) => group.weights),
      weightData: content.buffer.slice(content.byteOffset, content.byteOffset + content.length),
      format: stored.format,
      signature: stored.signature,
    }),
  );
  await model.load();
  const pixels = fs.readFileSync(photos);
  const size = side * side * 3;
  const found = [];
  const milliseconds = [];
  for (let start = 0; start < pixels.length; start += size) {
    const values = Float32Array.from(pixels.subarray(start, start + size), (value) => value / 255);
    const input = tf.tensor4d(values, [1, Number(side), Number(side), 3]);
    const before = process.cpuUsage();
    const output = await model.predict(input).data();
    const spent = process.cpuUsage(before);
    milliseconds.push((spent.user + spent.system) / 1000);
    found.push(Buffer.from(output.buffer, output.byteOffset, output.byteLength));
  }
  fs.writeFileSync(answer, Buffer.concat(found));
  console.log(JSON.stringify({ milliseconds }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
