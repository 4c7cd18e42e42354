"""Open-set recognition: what several times the work per photo would bring.

Run `python benchmarks/open_world_costs.py DATA --cache CACHE` after `benchmarks/open_world.py`. Averaged views, a
second backbone, and geometric verification against the nearest training photos of the likeliest landmark, each
with the usual combination of scores; and the size of the input, on the photos that may choose it. Verification
takes a third of a second per photo, so it is measured on one photo of six.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from open_world_measures import (
    HEADER,
    RATES,
    Subject,
    bank,
    folds,
    measure,
    top1_of,
    usual_combination,
    whitened,
)
from open_world_networks import variant
from record import record, table
from world_data import Roles, assign_roles, list_photos
from world_outputs import PREPROCESSING, AllOutputs, outputs_of_all

from landmarks.model.combination import evidence_of
from landmarks.model.ood import BACKGROUND, is_landmark
from landmarks.search.rerank import count_inliers, local_features

LEARNED_FROM = ("train", "background", "background_landmark")
VERIFIED = (
    *("valid", "test", "other_source", "unknown", "unknown_small", "unknown_twin"),
    *("kind", "background_valid", "buildings"),
)
PART = 6
"""One of so many photos is verified."""

UNSURE = (1.0, 6.0)
"""Log odds of the likeliest landmark between which a second network is asked."""

ASKED = {"known landmarks": ("test",), "unknown landmarks": ("unknown",), "unseen kinds": ("kind",)}

VIEWS = {"": 224, "flip": 224, "closer": 256, "closer-flip": 256}
"""Views by name: the short side to which a photo is resized before the crop of 224 pixels."""


def views_of(roles: Roles, network: Path, names: Sequence[str]) -> list[AllOutputs]:
    """Outputs of a network for several views of each photo."""
    sides = {name: replace(PREPROCESSING, resize=VIEWS[name]) for name in names}
    return [outputs_of_all(network, roles.photos, preprocessing=sides[name], view=name) for name in names]


def cascade(first: Subject, second: Subject) -> tuple[NDArray[np.bool_], Subject]:
    """Ask the second network where the first is unsure (Viola and Jones 2001, https://doi.org/10.1109/CVPR.2001.990517).

    Returns:
        (N,), where it is asked, and what both say together. Near a limit the second counts for less, so that no
        answer jumps where two machines round differently.
    """
    near = bank(first, whitened(first))
    odds = evidence_of(first.logits, first.embeddings, first.known, near)[:, 0]
    share = np.clip(np.minimum(odds - UNSURE[0], UNSURE[1] - odds), 0, 1)[:, None] / 2
    return share[:, 0] > 0, replace(first, logits=first.logits + share * (second.logits - first.logits))


def input_rows(roles: Roles, outputs: Mapping[str, AllOutputs], known: NDArray[np.bool_]) -> list[list[str]]:
    """One row per view, on validation photos: top-1, and tagged rightly by collection at each rate."""
    valid, rows = roles.of("valid"), []
    collections = np.array([roles.photos[i].collection for i in valid])
    for name, found in outputs.items():
        subject = Subject.of(roles, found, known)
        fitted, right, measured = usual_combination(subject), subject.right, []
        for fit, shown in folds(roles):
            scores = fitted(fit)
            row = [right[valid].mean()]
            for allowed in RATES:
                tagged = scores >= np.quantile(scores[shown["unknown"]], 1 - allowed)
                row += [(tagged & right)[valid[collections == one]].mean() for one in ("world34", "world124")]
                row += [tagged[shown["kinds"]].mean()]
            measured.append(row)
        words = f"short side {VIEWS[name]}, crop 224{', mirrored' if 'flip' in name else ''}"
        rows.append([words, *(f"{value:.3f}" for value in np.mean(measured, axis=0))])
    return rows


INPUT_HEADER = [
    "input of the network",
    "top-1",
    *(f"{name} @{rate:.0%}" for rate in RATES for name in ("world34", "world124", "kinds")),
]


def averaged(outputs: Sequence[AllOutputs]) -> AllOutputs:
    """Mean logits and embeddings."""
    return AllOutputs(
        np.mean([one.logits for one in outputs], axis=0), np.mean([one.embeddings for one in outputs], axis=0)
    )


def part_of(subject: Subject) -> Subject:
    """The same network on a part of the photos that something is fitted or measured on."""
    roles = subject.roles
    shown = np.sort(np.concatenate([roles.of(*LEARNED_FROM), roles.of(*VERIFIED)[::PART]]))
    fewer = Roles(tuple(roles.photos[i] for i in shown), roles.known, roles.background)
    return Subject(fewer, subject.logits[shown], subject.embeddings[shown], subject.known)


def most_inliers(paths: Sequence[Path]) -> int:
    """The most matches of the first photo with one of the others that fit one homography."""
    cv2.setNumThreads(1)
    first, *others = map(local_features, paths)
    return max(count_inliers(first, other) for other in others)


def inliers_of(subject: Subject, *, references: int = 3) -> NDArray[np.float64]:
    """(N, 1), log of 1 + inliers against the nearest training photos of the likeliest landmark; 0 for those."""
    roles = subject.roles
    train, places = roles.of("train"), roles.of(*VERIFIED)
    near = whitened(subject).vectors(subject.embeddings)
    likeliest = subject.logits[:, subject.known].argmax(axis=1)
    asked = []
    for place in places:
        own = train[roles.labels[train] == likeliest[place]]
        closest = own[np.argsort(-(near[own] @ near[place]))[:references]]
        asked.append([roles.photos[i].path for i in (place, *closest)])
    counts = np.zeros(len(roles.photos))
    with get_context("spawn").Pool(2) as pool:  # LanceDB, which the search imports, does not like forks
        counts[places] = pool.map(most_inliers, asked, chunksize=20)
    found: NDArray[np.float64] = np.log1p(counts)[:, None]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    given = parser.parse_args()
    roles = assign_roles(list_photos(given.data), "dev")
    known = is_landmark([*roles.known, BACKGROUND])
    network = given.cache / "dev" / "student" / "int8.onnx"
    dev = Subject.of(roles, outputs_of_all(network, roles.photos), known)
    views = dict(zip(VIEWS, views_of(roles, network, tuple(VIEWS)), strict=True))
    subjects = {
        "one view": dev,
        "mean of two views (mirrored): 2 x": averaged([views[""], views["flip"]]),
        "mean of four views (mirrored, closer): 4 x": averaged(list(views.values())),
    }
    rows = []
    for name, outputs in subjects.items():
        subject = outputs if isinstance(outputs, Subject) else Subject.of(roles, outputs, known)
        rows.append([name, *top1_of(subject), *measure(subject, usual_combination(subject))])
    second = variant(roles, given.cache, "teacher", known)
    if second is not None:
        both = replace(dev, logits=(dev.logits + second.logits) / 2)
        near = evidence_of(second.logits, second.embeddings, known, bank(second, whitened(second)))
        rows.append(
            ["second backbone (Lite2), both", *top1_of(both), *measure(both, usual_combination(both, near))]
        )
        asked, joined = cascade(dev, second)
        words = "second backbone where the first is unsure: "
        words += ", ".join(f"{asked[roles.of(*which)].mean():.0%} of {name}" for name, which in ASKED.items())
        rows.append([words, *top1_of(joined), *measure(joined, usual_combination(joined))])
    part = part_of(dev)
    inliers, top1 = inliers_of(part), top1_of(part)
    one = f"one view, one of {PART} photos"
    rows.append([one, *top1, *measure(part, usual_combination(part))])
    rows.append(["geometric verification alone, the same", *top1, *measure(part, lambda _: inliers[:, 0])])
    rows.append(["with geometric verification, the same", *top1, *measure(part, usual_combination(part, inliers))])
    header = ["what", "top-1 world34", "world124", "other", *HEADER[1:]]
    command = "python benchmarks/open_world_costs.py DATA --cache CACHE"
    body = table(header, rows) + "\n\n## Input of the network, on validation photos\n\n"
    body += table(INPUT_HEADER, input_rows(roles, views, known))
    record("open_world_costs", "Open-set recognition at more cost", command, body, ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
