"""Makes the bundled model `world`: trains, calibrates, exports, and prints every figure of its card.

Run `python benchmarks/bundle.py DATA --cache CACHE --out MODEL`, MODEL being `src/landmarks/model/bundled/world`
for the one that is bundled. The training takes about ten minutes on an H200 GPU with 16 cores beside it, most of a
day on two cores; everything else about 20 minutes. What is in CACHE is not made again, and all chance comes from
fixed seeds.

1. Decode every picture once (`world_data.py`: what each is for).
2. Train the development network, without 26 landmarks, six kinds of ordinary photos and half of the small
   landmarks, and choose the score's weights and the thresholds on these; train the final network, which knows all
   158 landmarks, in the same way (`world_training.py`, `world_augment.py`).
3. Carry the thresholds over (`world_calibration.py`).
4. Write the model folder. The card says what each rate was measured on.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import table
from world_calibration import Judged, calibrate_dev, carry_over, judge
from world_data import Roles, assign_roles, decode, list_photos, other_collections
from world_outputs import PREPROCESSING, AllOutputs, outputs_of_all, write_network
from world_training import STUDENT, train_student

from landmarks.fewshot.reference import make_reference
from landmarks.files.checksums import sha256_file
from landmarks.model.calibration import Calibration
from landmarks.model.folder import (
    CARD_FILE,
    NO_LICENCE,
    ONNX_FILE,
    REFERENCE_FILE,
    ModelInfo,
    Origin,
    licence_of,
    origins_of,
    write_info,
)
from landmarks.model.ood import BACKGROUND
from landmarks.model.probabilities import softmax
from landmarks.training.export.card import model_card
from landmarks.training.metrics.evaluate import Proportion, proportion
from landmarks.training.runs.folder import library_versions

NOTES = Path(__file__).parents[1] / "docs" / "world-notes.md"


def halves(data: Path) -> tuple[list[Path], list[Path]]:
    """Two halves of the old negatives, for the benchmarks that choose on one and show the other."""
    pictures = sorted((data / "negatives").glob("*.jpg"))
    random.Random(0).shuffle(pictures)
    return pictures[::2], pictures[1::2]


def shown(found: Proportion) -> str:
    """A rate with its interval, for a table."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def share(flags: NDArray[np.bool_], places: Sequence[int] | NDArray[np.int64]) -> Proportion:
    """The share of some pictures for which a flag holds."""
    return proportion(int(flags[places].sum()), len(places))


def split_metrics(roles: Roles, outputs: AllOutputs, calibration: Calibration, split: str) -> dict[str, Any]:
    """Top-1, top-5 and loss of known landmarks, and top-1 by source, as a run would give them."""
    places = roles.of(split)
    labels = roles.labels[places]
    chances = softmax(outputs.logits[places], calibration.temperature)
    order = np.argsort(-chances[:, : len(roles.known)], axis=1)
    first, five = order[:, 0] == labels, (order[:, :5] == labels[:, None]).any(axis=1)
    sources = np.array([roles.photos[i].source for i in places])
    by_source = [
        {"source": name, "accuracy": asdict(proportion(int(first[sources == name].sum()), count))}
        for name, count in Counter(sources.tolist()).most_common()
    ]
    return {
        "count": len(places),
        "loss": float(-np.log(chances[np.arange(len(places)), labels]).mean()),
        "top1": asdict(proportion(int(first.sum()), len(places))),
        "top5": asdict(proportion(int(five.sum()), len(places))),
        "sources": by_source,
    }


def summary_of(roles: Roles) -> dict[str, Any]:
    """What was trained on, as `model.json` says it."""
    trained = ("train", "train_small", "background", "background_landmark")
    listed = "\n".join(f"{photo.role} {photo.key}/{photo.path.name}" for photo in roles.photos)
    return {
        "name": "world34 and world124",
        "fingerprint": hashlib.sha256(listed.encode()).hexdigest()[:16],
        "train": len(roles.of(*trained)),
        "valid": len(roles.of("valid")),
        "test": len(roles.of("test")),
        "unreadable": 0,
        "roles": {role: len(roles.of(role)) for role in trained},
    }


def origin_of(roles: Roles) -> tuple[Origin, ...]:
    """The collections that it learnt from. Hardly any says what its pictures may be used for."""
    trained = roles.of("train", "train_small", "background", "background_landmark")
    sources = [roles.photos[i].source or f"{roles.photos[i].collection} (ImageNet, COCO)" for i in trained]
    return origins_of(sources, dict.fromkeys(sources, NO_LICENCE), "")


def tagged_table(roles: Roles, judged: Judged, calibration: Calibration) -> str:
    """Tagged rightly and wrongly on known landmarks, by set, at each operating point."""
    sets = {
        "world34, test": [i for i in roles.of("test") if roles.photos[i].collection == "world34"],
        "world124, test": [i for i in roles.of("test") if roles.photos[i].collection == "world124"],
        "other sources": roles.of("other_source"),
    }
    rows = []
    for name, places in sets.items():
        if len(places):
            for point, values in calibration.operating_points.items():
                tagged = (judged.scores >= values.threshold) & (judged.confidence >= values.min_confidence)
                right, wrong = share(tagged & judged.right, places), share(tagged & ~judged.right, places)
                rows.append(
                    [name, point, len(places), shown(share(judged.right, places)), shown(right), shown(wrong)]
                )
    return table(["set", "operating point", "photos", "top-1", "tagged rightly", "tagged wrongly"], rows)


def groups_table(roles: Roles, judged: Judged, calibration: Calibration, wanted: Sequence[str]) -> str:
    """False tags at `balanced` by kind or landmark."""
    tagged = (judged.scores >= calibration.threshold) & (judged.confidence >= calibration.min_confidence)
    places = roles.of(*wanted)
    keys = np.array([roles.photos[i].key for i in places])
    rows = [
        [key, int((keys == key).sum()), shown(share(tagged, places[keys == key]))] for key in sorted(set(keys))
    ]
    rows.append(["**all**", len(places), shown(share(tagged, places))])
    return table(["photos of", "photos", "false tags"], rows)


def other_source_table(roles: Roles, judged: Judged) -> str:
    """Top-1 of the landmarks that other collections show too: their own test pictures against the others."""
    test, other = roles.of("test"), roles.of("other_source")
    rows = []
    for label in sorted({roles.photos[i].label for i in other}):
        own = [i for i in test if roles.photos[i].label == label]
        theirs = [i for i in other if roles.photos[i].label == label]
        mine, others = share(judged.right, own), share(judged.right, theirs)
        rows.append([roles.known[label], shown(mine), shown(others), f"{mine.value - others.value:+.3f}"])
    return table(["landmark", "own source", "other sources", "gap"], rows)


def evidence_sections(dev: tuple[Roles, Judged, Calibration], final: tuple[Roles, Judged, Calibration]) -> str:
    """The part of the card that says what is tagged and what stays silent, and who chose the thresholds."""
    roles, judged, calibration = final
    dev_roles, dev_judged, dev_calibration = dev
    return "\n\n".join(
        [
            "## Tagged photos",
            "Test pictures chose nothing. "
            + other_collections(
                Counter(roles.photos[i].source for i in roles.of("other_source")),
                {one.collection for one in origin_of(roles)},
            ),
            tagged_table(roles, judged, calibration),
            "Top-1 by source, own against other:",
            other_source_table(roles, judged),
            "## False tags",
            "Photos that this network was not trained on: of trained kinds (`negatives`, `negatives_wide`), of "
            "ordinary castles, churches and bridges, and of landmarks at 64 pixels that it does not know.",
            groups_table(roles, judged, calibration, ("background_valid", "buildings", "unknown_small")),
            "The development network, trained the same way, never saw the following kinds and landmarks. They "
            "chose the thresholds, so these rates are those of the fit; the expected rates of the operating "
            "points are cross-fitted instead: the folds that choose differ from those that are measured in kinds "
            "and landmarks.",
            groups_table(dev_roles, dev_judged, dev_calibration, ("kind", "unknown")),
            "The same network on landmarks at 64 pixels that neither trained it nor chose anything:",
            groups_table(dev_roles, dev_judged, dev_calibration, ("unknown_small", "unknown_twin")),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--compare", action="store_true", help="Also train the variants of open_world.py.")
    given = parser.parse_args()
    photos = list_photos(given.data)
    pictures = decode(photos, given.cache)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    workers = max(1, (os.cpu_count() or 2) - 1)
    found = {}
    for mode in ("dev", "final"):
        mode_roles, folder = assign_roles(photos, mode), given.cache / mode
        compare = given.compare and mode == "dev"
        trained = train_student(pictures, mode_roles, folder, device=device, workers=workers, compare=compare)
        network = write_network(trained, mode_roles, folder / "student", scale=STUDENT.scale)
        found[mode] = (mode_roles, network, outputs_of_all(network, photos))
    dev_roles, _, dev_outputs = found["dev"]
    roles, network, outputs = found["final"]
    dev = calibrate_dev(dev_roles, dev_outputs)
    calibration = carry_over(dev, dev_roles, dev_outputs, roles, outputs)
    judged = judge(calibration, roles, outputs)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / ONNX_FILE).write_bytes(network.read_bytes())
    train_places, silent = roles.of("train"), roles.of("background_valid")
    make_reference(outputs.embeddings[train_places], roles.labels[train_places], outputs.embeddings[silent]).save(
        given.out / REFERENCE_FILE
    )
    origin = origin_of(roles)
    info = ModelInfo(
        name=given.out.name,
        architecture="efficientnet_lite0",
        precision="int8",
        classes=(*roles.known, BACKGROUND),
        preprocessing=PREPROCESSING,
        temperature=calibration.temperature,
        calibration=calibration.to_dict(),
        metrics={split: split_metrics(roles, outputs, calibration, split) for split in ("valid", "test")},
        data=summary_of(roles),
        versions=library_versions(),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        licence=licence_of(None, origin),
        origin=origin,
    )
    sections = evidence_sections(
        (dev_roles, judge(dev, dev_roles, dev_outputs), dev), (roles, judged, calibration)
    )
    card = model_card(info, NOTES.read_text(encoding="utf-8").strip() + "\n\n" + sections)
    (given.out / CARD_FILE).write_text(card, encoding="utf-8")
    files = {name: sha256_file(given.out / name) for name in (ONNX_FILE, REFERENCE_FILE, CARD_FILE)}
    write_info(given.out, replace(info, files=files))
    print(card)


if __name__ == "__main__":
    main()
