"""How far the collection, or the landmark, can be told without seeing what a picture shows: before and after.

Run `python benchmarks/world_shortcuts.py DATA --cache CACHE`. A forest learns sharpness at three scales, high
frequencies along both axes and how well the picture packs, from 2,500 training pictures at 160 pixels, as they are
and after the augmentation of `world_augment.py` (cross-validated, five folds). `landmarks doctor` reads the same
from files; a network sees no files, so here it is read from pixels.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from record import record, table
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from world_augment import augment
from world_data import assign_roles, decode, list_photos

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import AugmentSettings
from landmarks.training.data.augment import TrainTransform

PICTURES, SIDE = 2500, 160


def clues(picture: NDArray[np.uint8]) -> list[float]:
    """Sharpness, high frequencies and packing of a picture, without what it shows."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    found = [float(np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var()))]
    for factor in (2, 4):
        smaller = cv2.resize(grey, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        found.append(float(np.log1p(cv2.Laplacian(smaller, cv2.CV_32F).var())))
    for steps in (np.abs(np.diff(grey, axis=1)).mean(0), np.abs(np.diff(grey, axis=0)).mean(1)):
        spectrum = np.abs(np.fft.rfft(steps - steps.mean()))
        found += [float(np.log1p(spectrum[len(spectrum) * part // 8 :].mean())) for part in (4, 6)]
    return [*found, len(cv2.imencode(".png", picture)[1]) / picture.size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    given = parser.parse_args()
    photos = list_photos(given.data)
    roles, pictures = assign_roles(photos, "final"), decode(photos, given.cache)
    rng = np.random.default_rng(0)
    places = rng.permutation(roles.of("train"))[:PICTURES]
    plain = [cv2.resize(pictures.crop(i), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in places]
    quality = TrainTransform(AugmentSettings(names=("resized-crop", "quality")), SIDE, Preprocessing())
    torch.manual_seed(0)
    seen = {
        "as they are": plain,
        "`landmarks train --augment resized-crop,quality`": [
            np.ascontiguousarray(quality(pictures[i]).permute(1, 2, 0).numpy()) for i in places
        ],
        "augmented as `world` was": [augment(pictures[i], rng, SIDE) for i in places],
    }
    truths = {
        "collection": np.array([roles.photos[i].source for i in places]),
        "landmark": roles.labels[places],
    }
    rows = []
    for name, views in seen.items():
        values = np.array([clues(view) for view in views])
        for what, truth in truths.items():
            forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=0)
            accuracy = cross_val_score(forest, values, truth, cv=5).mean()
            most = Counter(truth.tolist()).most_common(1)[0][1] / len(truth)
            rows.append([name, what, f"{accuracy:.3f}", f"{most:.3f}"])
    body = table(["pictures", "told", "accuracy", "most common"], rows)
    command = "python benchmarks/world_shortcuts.py DATA --cache CACHE"
    record("world_shortcuts", "Shortcuts of world, before and after", command, body, ["scikit-learn", "numpy"])


if __name__ == "__main__":
    main()
