"""Makes the bundled table of background embeddings, and measures its effect on a model without negatives.

Run `python benchmarks/background_table.py DATA --cache CACHE --out TABLE`, TABLE being
`src/landmarks/training/export/background_efficientnet_lite0.npz` for the one that is bundled. The table has photos
of every kind in `negatives` and `negatives_wide` and of every second landmark of world124. The example
is a model of world34: a head on the frozen backbone, as `landmarks train --method transfer` makes it. It is
measured on the *other* landmarks of world124 and on other ordinary photos than those of the table.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import record, table
from world_data import Photo, Roles, assign_roles, list_photos
from world_outputs import AllOutputs, outputs_of_all, write_int8

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.ood import is_landmark, ood_scores
from landmarks.model.operating_points import UNCALIBRATED_MIN_CONFIDENCE
from landmarks.model.probabilities import softmax
from landmarks.training.export.background_table import BackgroundTable
from landmarks.training.export.thresholds import OpenSetPhotos, OpenSetTargets, calibrate_open_set
from landmarks.training.metrics.evaluate import proportion
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import TransferModel, get_model_transfer_learning

PER_KIND, PER_LANDMARK = 30, 14
CONTRACT = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def chosen(photos: Sequence[Photo]) -> tuple[list[int], list[int]]:
    """Positions of the photos in the table, and of those it is evaluated on."""
    groups = defaultdict(list)
    for i, photo in enumerate(photos):
        if photo.collection in ("negatives", "negatives_wide"):
            groups[f"kind/{photo.folder}"].append(i)
        elif photo.collection == "world124":
            groups[f"landmark/{photo.folder}"].append(i)
    kept, shown = [], []
    landmarks = sorted(name for name in groups if name.startswith("landmark/"))
    for name, places in sorted(groups.items()):
        random.Random(name).shuffle(places)
        if name in landmarks[1::2]:
            shown += places[:PER_LANDMARK]
        else:
            most = PER_KIND if name.startswith("kind/") else PER_LANDMARK
            kept += places[:most]
            shown += places[most : 2 * most] if name.startswith("kind/") else []
    return kept, shown


def embeddings_of(photos: Sequence[Photo], roles: Roles, cache: Path) -> NDArray[np.float32]:
    """Embeddings by the pretrained backbone, at the precision of an export."""
    path = cache / "frozen256" / "fp32.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        model, contract = get_model_transfer_learning(num_classes=2)
        write_onnx(model.eval(), contract, path)
    return outputs_of_all(write_int8(path, roles), photos, preprocessing=CONTRACT).embeddings


def head_of(embeddings: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> TransferModel:
    """A model with the frozen backbone and a head fitted to embeddings."""
    torch.manual_seed(0)
    model, _ = get_model_transfer_learning(num_classes=classes)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.3, weight_decay=3e-6)
    inputs, targets = torch.from_numpy(embeddings), torch.from_numpy(labels)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / 300)
        loss = torch.nn.functional.cross_entropy(model.head(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    photos = list_photos(given.data)
    roles = assign_roles(photos, "final")
    kept, shown = chosen(photos)
    known = [i for i, photo in enumerate(photos) if photo.collection == "world34"]
    needed = [*kept, *shown, *known]
    embeddings = embeddings_of([photos[i] for i in needed], roles, given.cache)
    of = {place: row for row, place in enumerate(needed)}

    names = sorted({_group(photos[i]) for i in kept})
    rows = np.array([of[i] for i in kept])
    groups = np.array([names.index(_group(photos[i])) for i in kept])
    BackgroundTable(embeddings[rows], groups, tuple(names)).save(given.out)
    print(f"{len(kept)} embeddings, {given.out.stat().st_size / 1e6:.2f} MB")

    classes = [name for name in roles.known if name in {photos[i].folder for i in known}]
    places = {role: [i for i in known if roles.photos[i].role == role] for role in ("train", "valid", "test")}
    labels = {role: np.array([classes.index(photos[i].folder) for i in found]) for role, found in places.items()}
    rows_of = {role: np.array([of[i] for i in found]) for role, found in places.items()}
    model = head_of(embeddings[rows_of["train"]], labels["train"], len(classes))
    with torch.no_grad():
        outputs = AllOutputs(model.head(torch.from_numpy(embeddings)).numpy(), embeddings)
    seen = BackgroundTable.load(given.out).without(classes).seen_by(model)
    calibration = calibrate_open_set(
        OpenSetPhotos(
            outputs.at(rows_of["train"]),
            labels["train"],
            outputs.at(rows_of["valid"]),
            labels["valid"],
            seen.ordinary,
            seen.unknown,
        ),
        classes,
        OpenSetTargets(),
    )
    scores = ood_scores(
        calibration.score,
        outputs.logits,
        outputs.embeddings,
        known=is_landmark(classes),
        temperature=calibration.temperature,
        combination=calibration.combination,
    )
    test, truth = rows_of["test"], labels["test"]
    right = outputs.logits[test].argmax(axis=1) == truth
    unknown = np.array([of[i] for i in shown if photos[i].collection == "world124"])
    ordinary = np.array([of[i] for i in shown if photos[i].collection != "world124"])
    tagged_before = softmax(outputs.logits).max(axis=1) >= UNCALIBRATED_MIN_CONFIDENCE
    sure = softmax(outputs.logits, calibration.temperature).max(axis=1)
    found = {"no negatives, before: softmax of 0.8": tagged_before}
    for name, point in calibration.operating_points.items():
        found[f"bundled table, {name}"] = (scores >= point.threshold) & (sure >= point.min_confidence)
    lines = [
        [
            name,
            _shown(tagged[test] & right),
            _shown(tagged[test] & ~right),
            _shown(tagged[unknown]),
            _shown(tagged[ordinary]),
        ]
        for name, tagged in found.items()
    ]
    header = ["model without negatives", "world34 test tagged rightly", "wrongly"]
    header += ["false tags, other landmarks of world124", "false tags, other ordinary photos"]
    command = "python benchmarks/background_table.py DATA --cache CACHE --out TABLE"
    record(
        "background_table", "A table instead of negatives", command, table(header, lines), ["onnxruntime", "numpy"]
    )


def _group(photo: Photo) -> str:
    return f"{'landmark' if photo.collection == 'world124' else 'kind'}/{photo.folder}"


def _shown(flags: NDArray[np.bool_]) -> str:
    share = proportion(int(flags.sum()), len(flags))
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}) of {share.count}"


if __name__ == "__main__":
    main()
