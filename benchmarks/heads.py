"""Linear and cosine heads: their accuracy on few classes, their memory and time for very many.

Run `python benchmarks/heads.py DATA`, DATA being an image folder such as world34. It takes a quarter of an hour
and 8 GB of memory.

- Accuracy: frozen EfficientNet-Lite0, embedded once; each head is trained by `landmarks.training` with the usual
  settings of `--method transfer`, for several seeds. Each seed has another split into training and validation,
  other initial weights and another order. Scale and margin are compared on validation images only; the test images
  are used only for the heads in `HEADS`, all of which are in the table.
- Memory and time: synthetic embeddings and labels, one step with AdamW at a time. Each number is from a separate
  process with one thread; the processes take turns, and the times are medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import record, table
from torch import nn

from landmarks.training.config.settings import (
    ModelSettings,
    OptimizationSettings,
    RunSettings,
    default_settings,
)
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, prepare_data
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.optimization import get_loss, get_optimizer
from landmarks.training.engine.train import one_epoch_test, optimize
from landmarks.training.models.features import Views, compute_embeddings, embedding_loader
from landmarks.training.models.heads import head_factory, head_loss
from landmarks.training.models.networks import NetworkOfRun, build_network
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.models.weights import load_weights
from landmarks.training.runs.folder import RunFolder

HEADS = {
    "linear": ModelSettings("transfer"),
    "cosine without margin": ModelSettings("transfer", head="cosine", margin=0.0),
    "cosine, margin 0.1": ModelSettings("transfer", head="cosine"),
    "the same, 3 centres": ModelSettings("transfer", head="cosine", sub_centers=3),
}
SCALES, MARGINS = (15.0, 30.0, 64.0), (0.0, 0.1, 0.5)
SIZES = (1280, 512)
TRIED = range(10, 13)
"""Seeds of the comparison of scales and margins: other splits than those of the heads."""

LARGE = ("linear", "cosine, margin 0.1", "the same, 3 centres")
WARM_UP, STEPS, ROUNDS = 1, 3, 3


@dataclass(frozen=True)
class Embedded:
    """The images of a data set, embedded by a frozen backbone.

    Attributes:
        settings: The default settings.
        train: Views (V, D) of each image of `train/` by its path; the first is the centre crop.
        test: Likewise, one view of each.
    """

    settings: RunSettings
    train: dict[Path, NDArray[np.float32]]
    test: dict[Path, NDArray[np.float32]]

    @classmethod
    def of(cls, folder: Path, views: int | None = None) -> Embedded:
        """Embed the images of a folder once, for every split and every head; as many views as usual if None."""
        settings = default_settings(folder, "transfer")
        data = prepare_data(folder, settings.loading)
        network = network_of(settings, data)
        samples = [*data.folder.train, *data.folder.valid]

        def embed(samples: list[Sample], views: int) -> dict[Path, NDArray[np.float32]]:
            rows = compute_embeddings(
                network.model,
                data.cache,
                samples,
                network.preprocessing,
                data.cache_folder,
                views=Views(count=views, augment=settings.augment),
            )
            return {sample.path: row for sample, row in zip(samples, rows, strict=True)}

        return cls(settings, embed(samples, views or settings.model.views), embed(list(data.folder.test), 1))


def network_of(settings: RunSettings, data: Data) -> NetworkOfRun:
    torch.manual_seed(settings.loading.seed)
    network = build_network(settings.model, data.folder.classes, data.preprocessing)
    assert isinstance(network.model, TransferModel)
    return network


@dataclass(frozen=True)
class Predictions:
    """Accuracy and mean cross entropy of one head."""

    valid_accuracy: float
    valid_loss: float
    test_accuracy: float


def train(embedded: Embedded, model: ModelSettings, seed: int) -> Predictions:
    """Train one head and measure it."""
    usual = embedded.settings
    settings = replace(usual, model=model, loading=replace(usual.loading, seed=seed))
    data = prepare_data(settings.data, settings.loading)
    network = network_of(settings, data)
    views = {"train": embedded.train, "valid": embedded.train, "test": embedded.test}
    loaders = {}
    for split, samples in (("train", data.folder.train), ("valid", data.folder.valid), ("test", data.folder.test)):
        kept = None if split == "train" else 1
        rows = np.stack([views[split][sample.path][:kept] for sample in samples])
        loaders[split] = embedding_loader(
            rows, samples, settings.loading.batch_size, sampler="plain" if split == "train" else None
        )
    head = Head(network.model)
    with tempfile.TemporaryDirectory() as folder:
        run, fabric = RunFolder(Path(folder)), launch_fabric(settings.loop)
        optimize(replace(network, model=head), loaders, settings, run, fabric=fabric)
        load_weights(run.weights, head, network.architecture)
    valid, labels = one_epoch_test(loaders["valid"], head)
    test, test_labels = one_epoch_test(loaders["test"], head)
    return Predictions(
        valid_accuracy=float((valid.argmax(1) == labels).double().mean()),
        valid_loss=float(nn.functional.nll_loss(valid.clamp_min(1e-12).log(), labels)),
        test_accuracy=float((test.argmax(1) == test_labels).double().mean()),
    )


def mean_and_spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def compare_heads(embedded: Embedded, seeds: range) -> str:
    """Test accuracy of the heads, and of each against the linear one on the same split."""
    found = {name: [train(embedded, model, seed) for seed in seeds] for name, model in HEADS.items()}
    linear = [answers.test_accuracy for answers in found["linear"]]
    rows = []
    for name, answers in found.items():
        test = [one.test_accuracy for one in answers]
        gaps = [100 * (own - other) for own, other in zip(test, linear, strict=True)]
        rows.append(
            [
                name,
                mean_and_spread(test),
                "-" if name == "linear" else f"{statistics.mean(gaps):+.2f} ± {statistics.stdev(gaps):.2f}",
                mean_and_spread([one.valid_accuracy for one in answers]),
                f"{statistics.mean(one.valid_loss for one in answers):.3f}",
            ]
        )
    header = ["head", "test accuracy", "points above linear", "validation accuracy", "validation loss"]
    return table(header, rows)


def compare_margins(embedded: Embedded) -> str:
    """Validation accuracy and loss of a cosine head by scale and margin."""
    rows = []
    for scale in SCALES:
        for margin in MARGINS:
            model = ModelSettings("transfer", head="cosine", scale=scale, margin=margin)
            answers = [train(embedded, model, seed) for seed in TRIED]
            accuracy = mean_and_spread([one.valid_accuracy for one in answers])
            rows.append(
                [
                    f"{scale:g}",
                    f"{margin:g}",
                    accuracy,
                    f"{statistics.mean(one.valid_loss for one in answers):.3f}",
                ]
            )
    return table(["scale", "margin", "validation accuracy", "validation loss"], rows)


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str, size: int, classes: int, batch: int) -> dict[str, float]:
    """Measure one head in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = HEADS[name]
    embeddings = nn.functional.normalize(torch.randn(batch, size))
    labels = torch.randint(classes, (batch,))
    before = peak_gigabytes()
    head = head_factory(model)(size, classes)
    loss, optimizer = head_loss(get_loss(), model), get_optimizer(head, OptimizationSettings())
    seconds = []
    for _ in range(WARM_UP + STEPS):
        started = time.perf_counter()
        loss(head(embeddings), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    training = peak_gigabytes() - before
    answering = []
    with torch.no_grad():
        for _ in range(WARM_UP + STEPS):
            started = time.perf_counter()
            head(embeddings[:1])
            answering.append(time.perf_counter() - started)
    return {
        "million": sum(parameter.numel() for parameter in head.parameters()) / 1e6,
        "step": 1000 * statistics.median(seconds[WARM_UP:]),
        "gigabytes": training,
        "picture": 1000 * statistics.median(answering[WARM_UP:]),
    }


def compare_room(classes: int, batch: int) -> str:
    """Time and memory for very many classes, in turns."""
    rows = []
    for size in SIZES:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in LARGE}
        for _ in range(ROUNDS):
            for name in LARGE:
                words = [sys.executable, __file__, "--measure", name, str(size), str(classes), str(batch)]
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                found[name].append(json.loads(done.stdout))
        for name, measured in found.items():
            middle = {key: statistics.median(one[key] for one in measured) for key in measured[0]}
            ratios = [one["step"] / other["step"] for one, other in zip(measured, found["linear"], strict=True)]
            rows.append(
                [
                    size,
                    name,
                    f"{middle['million']:.0f}",
                    f"{middle['step']:.0f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{middle['gigabytes']:.1f}",
                    f"{middle['picture']:.0f}",
                ]
            )
    header = ["D", "head", "million parameters", "ms per step", "times linear", "GB more at most", "ms per answer"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--classes", type=int, default=81_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, *numbers = given.measure
        print(json.dumps(measure(name, *map(int, numbers))))
        return
    if given.data is None:
        parser.error("give DATA")
    room = compare_room(given.classes, given.batch)
    embedded, seeds = Embedded.of(given.data), range(given.seeds)
    body = f"""## Accuracy on {given.data.name}

{compare_heads(embedded, seeds)}

Mean and standard deviation over {given.seeds} seeds, at the usual scale of 30. The points are those of the same
seed; one test picture is {100 / len(embedded.test):.2f} points.

### Scale and margin, one centre, on validation pictures

{compare_margins(embedded)}

Three other seeds. The loss is that of the plain logits, without the margin.

## {given.classes:,} classes

{room}

Head alone, made embeddings of length D, {given.batch} per step, 32 bits, AdamW, one thread. Memory is the highest
of the process above that before the head was made: weights, gradient, the two averages of AdamW, and what a step
needs besides. An answer is one picture without a gradient."""
    record("heads", "Linear and cosine heads", "python benchmarks/heads.py DATA", body, ["torch", "onnxruntime"])


if __name__ == "__main__":
    main()
