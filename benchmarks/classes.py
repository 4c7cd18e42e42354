"""Very many classes: seconds and peak memory of each stage, from the list of pictures to the first tag.

Run `python benchmarks/classes.py`. For each number of classes it makes a set of tiny images below build/ and
measures each stage in a process of its own; it needs /proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from record import record, table
from safetensors.torch import save_file

from landmarks.model.calibration import Outputs
from landmarks.tagging.pipeline import Model
from landmarks.training.config.jobs import ExportSettings
from landmarks.training.config.settings import ModelSettings, RunSettings, default_settings
from landmarks.training.data.folders import Sample, list_splits, read_data_folder
from landmarks.training.engine import pipeline, trained
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.export.export import export_run
from landmarks.training.export.thresholds import OpenSetPhotos, OpenSetTargets, calibrate_open_set
from landmarks.training.models.features import Views

NOTES = """One process per row but for those of training, which are one, with one thread. Memory is the highest of
the process above that after the imports.

- **Pictures**: one folder per class with three JPEG of noise, 32 x 32 (500 different ones, linked), and a table
  that takes one per class for training, about 500 for validation and 5,000 for the test. Training reads the
  table.
- **Network**: timm's `test_efficientnet` (256 features, random weights) with a cosine head, so that the classes
  and not the backbone take the time. One epoch; batches of 64 with 1,000 classes, else of 512.
- **Above 1,000 classes the embeddings are made**, not computed: a centre per class, and noise. Export and tags use
  the real network, so their answers mean nothing there; their cost is not affected.
- **Thresholds** are chosen for made outputs: 1,584 photos without a landmark, up to 500 of known ones, and one
  training embedding per class (50,000 in all where there are fewer classes)."""

BACKBONE, FEATURES = "test_efficientnet", 256
DIFFERENT, COMPUTED = 500, 1_000
VALID, TEST = 500, 5_000
NEGATIVES, PHOTOS = 1_588, 20


def status(key: str) -> float:
    """A value of /proc/self/status in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1e6


class Meter(Logger):
    """Seconds and peak memory of each stage of a process.

    Attributes:
        rows: Name, seconds, and GB above `base` of each finished stage.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self.base = status("VmRSS")
        self._name, self._started = "", 0.0

    def stage(self, name: str) -> None:
        """Finish the last stage and begin another."""
        self.stop()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._name, self._started = name, time.perf_counter()

    def stop(self) -> None:
        """Finish the stage."""
        if self._name:
            peak = max(0.0, status("VmHWM") - self.base)
            self.rows.append((self._name, time.perf_counter() - self._started, peak))
        self._name = ""

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure a block as a stage."""
        self.stage(name)
        yield
        self.stop()


def make_set(work: Path, classes: int) -> None:
    """Make the pictures of a set, the table and the weights, if they are not there."""
    if (work / "labels.csv").is_file():
        return
    shutil.rmtree(work, ignore_errors=True)
    noise = np.random.default_rng(0).integers(0, 256, (DIFFERENT, 32, 32, 3), dtype=np.uint8)
    (work / "noise").mkdir(parents=True)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(work / "noise" / f"{number}.jpg")
    lines = ["path,label,split"]
    steps = {"train": 1, "valid": max(1, classes // VALID), "test": max(1, classes // TEST)}
    for label in range(classes):
        folder = work / "images" / f"{label:06d}.Landmark {label}"
        folder.mkdir(parents=True)
        for place, split in enumerate(("train", "valid", "test")):
            os.link(work / "noise" / f"{(label * 3 + place) % DIFFERENT}.jpg", folder / f"{place}.jpg")
            if label % steps[split] == 0:
                lines.append(f"images/{folder.name}/{place}.jpg,{folder.name},{split}")
    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE).state_dict(), work / "weights.safetensors")
    (work / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def settings_of(work: Path, classes: int) -> RunSettings:
    usual = default_settings(work / "labels.csv", "transfer")
    model = ModelSettings(
        "transfer", backbone=BACKBONE, weights=work / "weights.safetensors", views=1, head="cosine"
    )
    return replace(
        usual,
        cache=work / "cache",
        model=model,
        loading=replace(usual.loading, batch_size=64 if classes <= COMPUTED else 512),
        optimization=replace(usual.optimization, learning_rate=0.01),
        loop=replace(usual.loop, epochs=1, threads=1, accelerator="cpu"),
    )


def made_embeddings(_model: Any, _cache: Any, samples: list[Sample], *_: Any, **given: Any) -> NDArray[np.float32]:
    """What `compute_embeddings` would return of a backbone that tells the classes apart."""
    labels = np.array([sample.label for sample in samples])
    centres = np.random.default_rng(1).normal(size=(int(labels.max()) + 1, FEATURES)).astype(np.float32)
    noise = np.random.default_rng(len(samples)).normal(size=(len(samples), FEATURES)).astype(np.float32)
    rows = centres[labels] + 0.5 * noise
    views: Views = given.get("views", Views())
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.repeat(unit[:, None], views.count, axis=1)


def listing(work: Path, _classes: int, meter: Meter) -> None:
    with meter.measured("list the folder"):
        list_splits(work / "images")


def splitting(work: Path, _classes: int, meter: Meter) -> None:
    with meter.measured("list and split the folder"):
        read_data_folder(work / "images", valid_size=0.15, seed=0)


def training(work: Path, classes: int, meter: Meter) -> None:
    if classes > COMPUTED:
        pipeline.compute_embeddings = trained.compute_embeddings = made_embeddings  # type: ignore[assignment]
    shutil.rmtree(work / "run", ignore_errors=True)
    pipeline.train_run(settings_of(work, classes), work / "run", loggers=[meter])
    meter.stop()


def exporting(work: Path, _classes: int, meter: Meter) -> None:
    shutil.rmtree(work / "model", ignore_errors=True)
    run = trained.load_run(work / "run")
    data = trained.load_data(run)
    with meter.measured("export, int8"):
        export_run(run, data, work / "model", ExportSettings(torchscript=False))


def calibrating(work: Path, classes: int, meter: Meter) -> None:
    rng = np.random.default_rng(0)

    def outputs(count: int) -> Outputs:
        logits = rng.normal(size=(count, classes)).astype(np.float32)
        return Outputs(logits, rng.normal(size=(count, FEATURES)).astype(np.float32))

    labels = np.arange(max(50_000, classes)) % classes
    valid_labels = rng.integers(0, classes, max(300, min(VALID, 30_000_000 // classes)))
    with meter.measured("choose thresholds"):
        valid = outputs(len(valid_labels))
        valid.logits[np.arange(len(valid_labels)), valid_labels] += 9 * (rng.random(len(valid_labels)) < 0.8)
        train = Outputs(np.empty((len(labels), 0), np.float32), outputs_of_classes(labels, rng))
        groups = {f"kind {number}": outputs(NEGATIVES // 6) for number in range(6)}
        photos = OpenSetPhotos(train, labels, valid, valid_labels, groups)
        names = [f"Landmark {label}" for label in range(classes)]
        found = calibrate_open_set(photos, names, OpenSetTargets())
        (work / "calibration.json").write_text(json.dumps(found.to_dict()))


def outputs_of_classes(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    centres = rng.normal(size=(int(labels.max()) + 1, FEATURES)).astype(np.float32)
    noise: NDArray[np.float32] = rng.normal(size=(len(labels), FEATURES)).astype(np.float32)
    return centres[labels] + noise


def listing_models(work: Path, _classes: int, meter: Meter) -> None:
    from contextlib import redirect_stdout
    from io import StringIO

    from landmarks.cli import main

    with meter.measured("`landmarks models`"), redirect_stdout(StringIO()):
        assert main(["models", str(work / "model")]) == 0


def tagging(work: Path, _classes: int, meter: Meter) -> None:
    photos = sorted((work / "noise").iterdir())[:PHOTOS]
    with meter.measured("open the exported folder"):
        model = Model(work / "model")
    with meter.measured(f"tag {PHOTOS} photos"):
        list(model.tag(photos))


STAGES: dict[str, Callable[[Path, int, Meter], None]] = {
    "list": listing,
    "split": splitting,
    "train": training,
    "export": exporting,
    "calibrate": calibrating,
    "models": listing_models,
    "tag": tagging,
}


def sizes(work: Path) -> list[tuple[str, float]]:
    """What a set leaves on the disk, in MB."""
    files = [work / "run" / name for name in ("metrics_test.json", "confusion_test.csv", "report.html")]
    files += [work / "model" / name for name in ("model.json", "README.md", "model.onnx")]
    return [(path.name, path.stat().st_size / 1e6) for path in (*files, work / "calibration.json")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[1_000, 10_000, 81_000])
    parser.add_argument("--work", type=Path, default=Path("build/classes"), help="folder for the made sets")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        torch.set_num_threads(1)
        (classes,), meter = given.classes, Meter()
        STAGES[given.stage](given.work, classes, meter)
        print(json.dumps(meter.rows))
        return
    found: dict[str, dict[int, str]] = {}
    for classes in given.classes:
        work = given.work.resolve() / str(classes)
        make_set(work, classes)
        for stage in STAGES:
            kept = work / f"{stage}.json"
            words = [sys.executable, __file__, "--stage", stage, "--classes", str(classes), "--work", str(work)]
            if not kept.is_file():  # a stopped benchmark goes on where it was
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                kept.write_text(done.stdout.splitlines()[-1])
            for name, seconds, gigabytes in json.loads(kept.read_text()):
                found.setdefault(name, {})[classes] = f"{seconds:.1f} s, {gigabytes:.2f} GB"
                print(classes, name, found[name][classes], file=sys.stderr)
        for name, megabytes in sizes(work):
            found.setdefault(f"size of {name}", {})[classes] = f"{megabytes:.1f} MB"
    header = ["stage", *(f"{classes:,} classes" for classes in given.classes)]
    rows = [[name, *(cells.get(classes, "-") for classes in given.classes)] for name, cells in found.items()]
    body = f"{table(header, rows)}\n\n{NOTES}"
    record("classes", "Very many classes", "python benchmarks/classes.py", body, ["torch", "onnxruntime", "timm"])


if __name__ == "__main__":
    main()
