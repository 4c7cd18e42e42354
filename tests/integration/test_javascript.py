"""The JavaScript example prepares pictures like the package, and answers like it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from commands import landmarks
from PIL import Image

from landmarks.imaging.preprocessing import Preprocessing, prepare

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "javascript"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

PREPARE = """
import {readFileSync, writeFileSync} from "node:fs";
const {prepare} = await import(process.argv[1]);
const [width, height] = process.argv.slice(2, 4).map(Number);
const picture = {width, height, data: readFileSync(process.argv[4])};
writeFileSync(process.argv[5], prepare(picture, {resize: 256, crop: 224, fit: process.argv[6]}));
"""


def node(*arguments: object) -> str:
    done = subprocess.run([str(NODE), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("size", "fit"),
    [(size, "crop") for size in [(64, 64), (160, 201), (401, 300), (900, 613)]] + [((401, 300), "squash")],
)
def test_preparation_is_the_same_to_the_byte(
    size: tuple[int, int], fit: Literal["crop", "squash"], tmp_path: Path
) -> None:
    width, height = size
    noise = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))
    (tmp_path / "raw").write_bytes(picture.tobytes())
    module = (EXAMPLE / "preprocess.mjs").as_uri()
    node("--input-type=module", "-e", PREPARE, module, width, height, tmp_path / "raw", tmp_path / "ready", fit)
    ready = np.fromfile(tmp_path / "ready", np.uint8).reshape(224, 224, 3).astype(int)
    difference = np.abs(ready - prepare(picture, Preprocessing(fit=fit)))
    assert difference.max() <= 1, "rounding at most"
    assert difference.mean() < 0.001


@pytest.fixture
def packages() -> Path:
    """The folder with onnxruntime-web and sharp: that of the example, or NODE_PACKAGES."""
    folder = Path(os.environ.get("NODE_PACKAGES", EXAMPLE / "node_modules"))
    if not (folder / "onnxruntime-web").is_dir() or not (folder / "sharp").is_dir():
        pytest.skip("npm install was not run in examples/javascript")
    return folder


def test_example_answers_like_the_package(
    packages: Path, scratch_model: Path, drawn: Path, tmp_path: Path
) -> None:
    for file in EXAMPLE.glob("*.mjs"):
        shutil.copy(file, tmp_path)
    shutil.copy(EXAMPLE / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages, target_is_directory=True)
    photos = sorted(drawn.glob("test/*/*.jpg"))[::3]
    lines = node(tmp_path / "recognise.mjs", scratch_model, *photos).splitlines()
    expected = landmarks("predict", "--model", scratch_model, "--jsonl", *photos).out.splitlines()
    assert len(lines) == len(expected) == len(photos)
    for ours, theirs in zip(map(json.loads, expected), map(json.loads, lines), strict=True):
        assert ours["candidates"][0]["class_name"] == theirs["candidates"][0]["class_name"]
        best = ours["candidates"][0]["probability"]
        assert theirs["candidates"][0]["probability"] == pytest.approx(best, abs=1e-3)
