"""TensorFlow.js itself and our ONNX graphs agree on real photos, for Google's six graphs with seeded weights.

Node and npm run TensorFlow.js; the test is skipped with the reason where they, or the real graphs, are not there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from landmarks.model.importing.names import REGIONS
from landmarks.model.importing.tfjs.conversion import convert, find_head
from landmarks.model.importing.tfjs.graph import read_graph

RUNNER = Path(__file__).with_name("tfjs_runner.js")
PACKAGES = ["tfjs-core", "tfjs-converter", "tfjs-backend-cpu", "tfjs-backend-wasm"]
VERSION = "4.22.0"
SIDE = 321

INTEGERS = {
    "reduction_indices": [1, 2],
    "axes": [3],
    "free": [0, 1, 2],
    "axis": 0,
    "perm": [1, 0],
    "Const": [0],
    "Const_1": [0],
    "Const_2": [64],
    "prelogits_norm/Sum/reduction_indices": 1,
}
"""Shapes and axes of the real graphs, which random numbers would break, by the end of the name."""
SCALARS = {
    "hard_swish/mul_1/y": 1 / 6,
    "Conv_1/mul/y": 1 / 6,
    "/add/y": 3.0,
    "gem_power": 3.0,
    "gem/truediv": 1 / 3,
    "module_apply_default/hub_input/Mul/y": 255.0,
    "module_apply_default/hub_input/Add/y": 0.5,
    "convert_image": 2 / 255,
    "tfhub_input_scaling/y": -1.0,
    "Maximum/y": 1e-12,
}


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TensorFlow.js: that of LANDMARKS_TFJS, or a new one."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if "LANDMARKS_TFJS" in os.environ:
        return Path(os.environ["LANDMARKS_TFJS"])
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("tfjs")
    names = [f"@tensorflow/{name}@{VERSION}" for name in PACKAGES]
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install TensorFlow.js within ten minutes")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install TensorFlow.js: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Real photos as pixels, in a file and as an array."""
    paths = sorted((shared_data / "world34/test").glob("*/*.jpg"))[::300][:2]
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in paths])
    file = tmp_path_factory.mktemp("photos") / "photos.raw"
    pictures.tofile(file)
    return file, pictures


@pytest.mark.shared
@pytest.mark.timeout(900)
@pytest.mark.parametrize("region", REGIONS)
def test_onnx_graph_agrees_with_tensorflow_js(
    region: str, node_modules: Path, photos: tuple[Path, np.ndarray], shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "google_landmarks" / f"{region}.model.json"
    path = with_seeded_weights(source, tmp_path / region)
    graph = read_graph(path)
    head = find_head(graph)
    assert head is not None
    model = convert(graph, {"embedding": head.embedding, "cosines": graph.outputs[0]}, value_range=(0, 1))
    session = onnxruntime.InferenceSession(model.SerializeToString(), None, ["CPUExecutionProvider"])
    embeddings, cosines = session.run(["embedding", "cosines"], {"pictures": photos[1]})

    answer = tmp_path / "answer.raw"
    command = ["node", str(RUNNER), str(node_modules), str(path.parent), str(photos[0]), str(answer), str(SIDE)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=800)
    expected = np.fromfile(answer, dtype="<f4").reshape(cosines.shape)
    assert np.abs(cosines - expected).max() < 1e-4
    assert (cosines.argmax(axis=1) == expected.argmax(axis=1)).all()
    # The head alone: the cosines are products of the embedding with the prototypes.
    assert embeddings @ graph.weights[head.prototypes].T == pytest.approx(expected, abs=1e-4)


def with_seeded_weights(source: Path, folder: Path) -> Path:
    """Write a real graph with weights that are made: the same for every region but for the prototypes."""
    folder.mkdir()
    values = json.loads(source.read_text())
    rng = np.random.default_rng(7)
    (group,) = values["weightsManifest"]
    content = b"".join(made_weight(entry, rng).tobytes() for entry in group["weights"])
    size = 4 << 20
    for number, name in enumerate(group["paths"]):
        (folder / name).write_bytes(content[number * size : (number + 1) * size])
    shutil.copyfile(source, folder / "model.json")
    return folder / "model.json"


def made_weight(entry: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    name, shape = entry["name"], tuple(entry["shape"])
    if entry["dtype"] == "int32":
        end = max((end for end in INTEGERS if name.endswith(f"/{end}")), key=len)
        return np.array(INTEGERS[end], dtype="<i4").reshape(shape)
    if not shape:
        end = max((end for end in SCALARS if name.endswith(end)), key=len)
        return np.array(SCALARS[end], dtype="<f4")
    if len(shape) == 4:
        inputs = shape[0] * shape[1] * (1 if "depthwise_weights" in name else shape[2])
        return rng.normal(0, math.sqrt(2 / inputs), shape).astype("<f4")
    if len(shape) == 2:
        made = np.random.default_rng(shape[0]).normal(size=shape)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f4")
    return rng.normal(1 if name.endswith("Scaled") else 0, 0.1, shape).astype("<f4")
