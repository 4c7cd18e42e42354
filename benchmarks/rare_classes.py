"""Classes of very different size: samplers and margins that help the rare ones, against a plain linear head.

Run `python benchmarks/rare_classes.py DATA`, DATA being an image folder such as world124. Frozen
EfficientNet-Lite0, each image embedded once (its centre crop). For each seed the training images of each class are
cut so that the sizes fall exponentially from that of the largest class to two, in a random order of the classes;
validation and test images stay. Every head is trained by `landmarks.training` with the usual settings of
`--method transfer` on the same images; the test images are used only for the rows of the table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from heads import Embedded, mean_and_spread
from record import record, table

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import ModelSettings, Sampler
from landmarks.training.data.folders import Sample, split_stratified
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.train import one_epoch_test, optimize
from landmarks.training.models.features import embedding_loader
from landmarks.training.models.networks import build_network
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.models.weights import load_weights
from landmarks.training.runs.folder import RunFolder

LEAST = 2
COSINE = ModelSettings("transfer", head="cosine")
WAYS: dict[str, tuple[ModelSettings, Sampler]] = {
    "linear": (ModelSettings("transfer"), "plain"),
    "linear, sqrt": (ModelSettings("transfer"), "sqrt"),
    "linear, balanced": (ModelSettings("transfer"), "balanced"),
    "cosine, margin 0.1": (COSINE, "plain"),
    "cosine, margin 0.1, sqrt": (COSINE, "sqrt"),
    "cosine, margin 0.1, balanced": (COSINE, "balanced"),
    "cosine, margins 0.1 to 0.3": (replace(COSINE, rare_margin=0.3), "plain"),
    "cosine, margins 0.05 to 0.5": (replace(COSINE, margin=0.05, rare_margin=0.5), "plain"),
    "cosine, margins 0.1 to 0.3, sqrt": (replace(COSINE, rare_margin=0.3), "sqrt"),
    "the same, 3 centres": (replace(COSINE, rare_margin=0.3, sub_centers=3), "sqrt"),
}


@dataclass(frozen=True)
class Found:
    """Test accuracy on all classes, on the third with the most training images, and on that with the fewest."""

    every: float
    common: float
    rare: float


def thinned(samples: list[Sample], classes: int, seed: int) -> tuple[list[Sample], np.ndarray]:
    """Cut the images of each class to a size that falls exponentially with its rank; also returns the ranks."""
    counts = np.bincount([sample.label for sample in samples], minlength=classes)
    ranks = np.random.default_rng(seed).permutation(classes)
    sizes = counts.max() * (LEAST / counts.max()) ** (ranks / (classes - 1))
    left = np.maximum(LEAST, sizes.round().astype(int))
    kept = []
    for sample in samples:
        if left[sample.label] > 0:
            left[sample.label] -= 1
            kept.append(sample)
    return kept, ranks


def measure(embedded: Embedded, model: ModelSettings, sampler: Sampler, seed: int) -> Found:
    """Train one head on the images of a seed and measure it."""
    labelled = {path.parent.name for path in embedded.train}
    classes = tuple(sorted(labelled))
    label = {name: place for place, name in enumerate(classes)}
    valid, rest = split_stratified(
        [Sample(path, label[path.parent.name]) for path in embedded.train], 0.15, seed, classes
    )
    train, ranks = thinned(rest, len(classes), seed)
    test = [Sample(path, label[path.parent.name]) for path in embedded.test]
    settings = replace(embedded.settings, model=model)
    settings = replace(settings, loading=replace(settings.loading, seed=seed, sampler=sampler))
    torch.manual_seed(seed)
    network = build_network(model, classes, Preprocessing())
    assert isinstance(network.model, TransferModel)
    loaders = {}
    for split, samples in (("train", train), ("valid", valid), ("test", test)):
        rows = np.stack([(embedded.test if split == "test" else embedded.train)[one.path][:1] for one in samples])
        loaders[split] = embedding_loader(rows, samples, 64, sampler=sampler if split == "train" else None)
    head = Head(network.model)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        optimize(replace(network, model=head), loaders, settings, run, fabric=launch_fabric(settings.loop))
        load_weights(run.weights, head, network.architecture)
    probabilities, labels = one_epoch_test(loaders["test"], head)
    right = (probabilities.argmax(1) == labels).numpy()
    rank = ranks[labels.numpy()]
    third = len(classes) / 3
    return Found(float(right.mean()), float(right[rank < third].mean()), float(right[rank >= 2 * third].mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    given = parser.parse_args()
    torch.set_num_threads(1)
    embedded = Embedded.of(given.data, views=1)
    found = {name: [measure(embedded, *way, seed) for seed in range(given.seeds)] for name, way in WAYS.items()}
    linear = [one.every for one in found["linear"]]
    rows = []
    for name, answers in found.items():
        gaps = [100 * (one.every - other) for one, other in zip(answers, linear, strict=True)]
        rows.append(
            [
                name,
                mean_and_spread([one.every for one in answers]),
                "-" if name == "linear" else f"{statistics.mean(gaps):+.2f} ± {statistics.stdev(gaps):.2f}",
                mean_and_spread([one.common for one in answers]),
                mean_and_spread([one.rare for one in answers]),
            ]
        )
    header = ["head, sampler", "test accuracy", "points above linear", "common third", "rare third"]
    body = f"""{table(header, rows)}

{given.data.name}, {given.seeds} seeds (mean and standard deviation; the points are those of the same seed).
Training images per class fall exponentially from the largest class to {LEAST}; thirds are by training images.
Frozen EfficientNet-Lite0, one view, usual settings; the weights with the lowest validation loss are kept."""
    record(
        "rare_classes", "Classes of very different size", "python benchmarks/rare_classes.py DATA", body, ["torch"]
    )


if __name__ == "__main__":
    main()
