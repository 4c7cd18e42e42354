"""Open-set recognition: does a threshold for each class bring more than one for all?

Run `python benchmarks/open_world_classes.py DATA --cache CACHE` after `benchmarks/open_world.py`. Which landmarks
take the false tags, and what each way of treating classes differently brings in the development network. What is
learnt, offsets and thresholds included, is learnt on one half of the unknown landmarks and kinds and measured on
the other half, six times; a row shows what is tagged rightly where at most 8 % of the unknown landmarks and 3 % of
the photos of unseen kinds get a tag, as in `world_calibration.py`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from open_world_measures import (
    EVERY,
    Fitted,
    Places,
    Scores,
    Subject,
    bank,
    combined,
    folds,
    test_sets,
    usual_combination,
    whitened,
)
from record import record, table
from world_calibration import TARGETS
from world_data import assign_roles, list_photos
from world_outputs import outputs_of_all

from landmarks.model import neighbours
from landmarks.model.combination import EVIDENCE
from landmarks.model.neighbours import Neighbours
from landmarks.model.ood import BACKGROUND, is_landmark
from landmarks.model.vectors import unit_length

SHOWN = 12
"""Classes in the tables of classes."""

PRIOR_OF_MEAN = 4
"""The mean score of a class is drawn towards that of all as by so many photos."""

Values = NDArray[np.float64]


def likeliest_of(subject: Subject) -> NDArray[np.int64]:
    found: NDArray[np.int64] = subject.logits[:, subject.known].argmax(axis=1)
    return found


def threshold_of(scores: Scores, photos: Mapping[str, Places]) -> float:
    """The lowest threshold that keeps both rates on some photos."""
    unknown, kinds = scores[photos["unknown"]], scores[photos["kinds"]]
    return float(max(np.quantile(unknown, 1 - TARGETS.unknown), np.quantile(kinds, 1 - TARGETS.ordinary)))


def row_of(subject: Subject, fitted: Fitted) -> list[float]:
    """Tagged rightly by set, at the threshold of the measured half; then the same and both rates, carried over."""
    right, sets, found = subject.right, test_sets(subject.roles), []
    for fit, shown in folds(subject.roles):
        scores, row = fitted(fit), []
        for half in (shown, fit):
            tagged = scores >= threshold_of(scores, half)
            row += [(tagged & right)[places].mean() for places in sets.values()]
        found.append([*row, tagged[shown["unknown"]].mean(), tagged[shown["kinds"]].mean()])
    return [float(value) for value in np.mean(found, axis=0)]


HEADER = ["what", "world34", "world124", "other", "carried: world34", "world124", "other"]
HEADER += ["unknown landmarks", "unseen kinds"]


def offsets_by_class(subject: Subject, fitted: Fitted, *, prior: float) -> Fitted:
    """Add to each score the log of right answers over expected ones of the class, both raised by `prior` photos.

    The empirical Bayes estimate of a relative risk (Clayton and Kaldor 1987, https://doi.org/10.2307/2532003).
    """
    likeliest, right, valid = likeliest_of(subject), subject.right, subject.roles.of("valid")
    size = int(subject.known.sum())

    def with_offsets(fit: Mapping[str, Places]) -> Scores:
        scores = fitted(fit)
        groups = [valid, *(fit[name] for name in EVERY)]
        places = np.concatenate(groups)
        shares = np.concatenate([np.full(len(group), len(valid) / len(group)) for group in groups])
        hits = np.concatenate([right[valid], np.zeros(len(places) - len(valid), dtype=bool)])
        expected = np.bincount(likeliest[places], shares / (1 + np.exp(-scores[places])), size)
        observed = np.bincount(likeliest[places], shares * hits, size)
        offsets: Scores = np.log((observed + prior) / (expected + prior))
        return scores + offsets[likeliest]

    return with_offsets


def closeness_to_classes(subject: Subject, stored: Neighbours, places: Places) -> NDArray[np.float32]:
    """(N, classes), mean cosine to the nearest stored photos of each class, without the photo itself."""
    queries = unit_length(stored.space.vectors(subject.embeddings[places]), np.float32)
    cosines = queries @ unit_length(stored.vectors.astype(np.float32), np.float32).T
    cosines[cosines > 0.995] = -1  # itself, rounded
    of_class = [cosines[:, stored.labels == label] for label in range(stored.classes)]
    return np.stack([np.sort(one, axis=1)[:, -neighbours.NEAREST :].mean(axis=1) for one in of_class], axis=1)


def class_statistics(subject: Subject, stored: Neighbours) -> dict[str, Values]:
    """Columns of further evidence (N, 1) that say something about the likeliest class of a photo."""
    roles, likeliest = subject.roles, likeliest_of(subject)
    train, size = roles.of("train"), stored.classes
    labels = roles.labels[train]
    close = closeness_to_classes(subject, stored, train)
    own = close[np.arange(len(train)), labels]
    by_class = [np.sort(own[labels == label]) for label in range(size)]
    asked = stored.closeness(subject.embeddings, likeliest).own
    ranks = np.empty(len(asked))
    for label, values in enumerate(by_class):
        here = likeliest == label
        ranks[here] = (np.searchsorted(values, asked[here]) + 1) / (len(values) + 2)
    hubs = [np.sort(close[labels != label, label])[-20:].mean() for label in range(size)]
    is_world34 = np.zeros(size)
    is_world34[roles.labels[[i for i in train if roles.photos[i].collection == "world34"]]] = 1
    found = {
        "collection": is_world34[likeliest],
        "photos": np.log(np.bincount(labels, minlength=size))[likeliest],
        "tightness": np.array([values.mean() for values in by_class])[likeliest],
        "hub": np.array(hubs)[likeliest],
        "rank": np.log(ranks / (1 - ranks)),
    }
    return {name: values[:, None] for name, values in found.items()}


def mean_scores(subject: Subject, scores: Scores) -> Values:
    """(N, 1), the mean score of validation photos of the likeliest class; each of these without itself."""
    roles, likeliest = subject.roles, likeliest_of(subject)
    valid, size = roles.of("valid"), int(subject.known.sum())
    labels, mean = roles.labels[valid], scores[valid].mean()
    sums, counts = np.bincount(labels, scores[valid], size), np.bincount(labels, minlength=size)
    total, count = sums[likeliest], counts[likeliest].astype(np.float64)
    own = valid[likeliest[valid] == labels]
    total[own] -= scores[own]
    count[own] -= 1
    found: Values = (total + PRIOR_OF_MEAN * mean) / (count + PRIOR_OF_MEAN)
    return found[:, None]


def bigger_bank(subject: Subject, photos: int, background: int) -> Neighbours:
    """Neighbours with more stored photos."""
    usual = neighbours.PHOTOS_PER_CLASS, neighbours.BACKGROUND_PHOTOS
    neighbours.PHOTOS_PER_CLASS, neighbours.BACKGROUND_PHOTOS = photos, background
    try:
        return bank(subject, whitened(subject))
    finally:
        neighbours.PHOTOS_PER_CLASS, neighbours.BACKGROUND_PHOTOS = usual


def ways(subject: Subject, scores: Scores) -> dict[str, Fitted]:
    """What is compared, by its words; `scores` are those that are fitted on all photos."""
    usual, stored = usual_combination(subject), bank(subject, whitened(subject))
    about = class_statistics(subject, stored)
    about["mean score"] = mean_scores(subject, scores)
    without = [name for name in EVIDENCE if name != "own"]
    large = bigger_bank(subject, 1000, 5000)

    def further(*names: str) -> Fitted:
        return combined(subject, stored, EVIDENCE, EVERY, np.concatenate([about[name] for name in names], axis=1))

    learnt = np.concatenate([about["rank"], about["mean score"]], axis=1)
    return {
        "**one threshold**": usual,
        "offset per class, prior of 50 photos": offsets_by_class(subject, usual, prior=50),
        "offset per class, prior of 10 photos": offsets_by_class(subject, usual, prior=10),
        "offset per class, prior of 2 photos": offsets_by_class(subject, usual, prior=2),
        "two groups: world34, world124": further("collection"),
        "mean score of validation photos of the class": further("mean score"),
        "number of training photos of the class": further("photos"),
        "number, tightness, closeness to others' photos": further("photos", "tightness", "hub"),
        "rank of `own` among training photos of the class": combined(
            subject, stored, without, EVERY, about["rank"]
        ),
        "the same and mean score": combined(subject, stored, without, EVERY, learnt),
        "every training photo stored (2.7 times as many)": combined(subject, large, EVIDENCE, EVERY),
        "the same, rank and mean score": combined(subject, large, EVIDENCE, EVERY, learnt),
    }


def takers(subject: Subject, scores: Scores, threshold: float) -> str:
    """Which classes take the false tags of unknown landmarks and unseen kinds."""
    roles, likeliest, tagged = subject.roles, likeliest_of(subject), scores >= threshold
    places = {name: roles.of(name) for name in ("unknown", "kind")}
    counted = {name: Counter(likeliest[of[tagged[of]]].tolist()) for name, of in places.items()}
    total = counted["unknown"] + counted["kind"]
    false = np.concatenate([of[tagged[of]] for of in places.values()])
    rows = []
    for label, _ in total.most_common(SHOWN):
        mistaken = Counter(roles.photos[i].folder for i in false if likeliest[i] == label)
        most = ", ".join(f"{name} ({count})" for name, count in mistaken.most_common(2))
        rows.append([roles.known[label], counted["unknown"][label], counted["kind"][label], most])
    words = f"{len(total)} of {len(roles.known)} classes take a false tag at the development network's threshold"
    shares = ", ".join(f"{sum(counted[name].values())} of {len(of)}" for name, of in places.items())
    header = ["class", "unknown landmarks", "unseen kinds", "most of them"]
    return f"{words} ({shares}):\n\n" + table(header, rows)


def silent(subject: Subject, scores: Scores, threshold: float) -> str:
    """The classes of world34 of which the fewest test photos get their tag."""
    roles, right = subject.roles, subject.right
    tagged = right & (scores >= threshold)
    places = test_sets(roles)["world34"]
    labels, train = roles.labels[places], roles.labels[roles.of("train")]
    worst = sorted(set(labels.tolist()), key=lambda label: tagged[places[labels == label]].mean())[:SHOWN]
    rows = []
    for label in worst:
        of = places[labels == label]
        rates = [f"{flags[of].mean():.2f}" for flags in (right, tagged)]
        rows.append([roles.known[label], (train == label).sum(), len(of), *rates])
    return table(["class", "training photos", "test photos", "top-1", "tagged rightly"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/world"))
    given = parser.parse_args()
    roles = assign_roles(list_photos(given.data), "dev")
    network = given.cache / "dev" / "student" / "int8.onnx"
    subject = Subject.of(roles, outputs_of_all(network, roles.photos), is_landmark([*roles.known, BACKGROUND]))
    parts = [("unknown",), ("kind",), ("background_valid",), ("unknown_small", "unknown_twin")]
    everything = dict(zip(EVERY, (roles.of(*wanted) for wanted in parts), strict=True))
    scores = usual_combination(subject)(everything)
    threshold = threshold_of(scores, everything)
    rows = []
    for words, fitted in ways(subject, scores).items():
        rows.append([words, *(f"{value:.3f}" for value in row_of(subject, fitted))])
        print(*rows[-1], sep=" | ", flush=True)
    body = table(HEADER, rows) + "\n\n## Where the false tags go\n\n" + takers(subject, scores, threshold)
    body += "\n\n## Where world34 stays silent\n\n" + silent(subject, scores, threshold)
    command = "python benchmarks/open_world_classes.py DATA --cache CACHE"
    record("open_world_classes", "Thresholds by class", command, body, ["onnxruntime", "numpy"])


if __name__ == "__main__":
    main()
