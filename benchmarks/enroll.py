"""Landmarks learned from five photos each: recall, false tags, and the loss on landmarks known before.

Run `python benchmarks/enroll.py DATA`, DATA being the folder with world34 and negatives; the embeddings are those
of the frozen backbone (see `benchmarks/embeddings.py`), computed once and cached. In each of 5 draws, 5 landmarks
are left out of world34; a linear head and the reference are trained on the rest, with the first half of the
negatives. Each landmark left out is then learned from 5 training images, with the code of `landmarks learn`, and
all are evaluated on world34's test images and the second half of the negatives. The table is printed and written
to benchmarks/results/enroll.md.

The rule and its constants (`landmarks.fewshot.prototypes`) were chosen without either of these: with `--choose`,
which uses 16 other draws, evaluates on training images that nothing was fitted on instead of test images, and
chooses the thresholds on three quarters of the first half of the negatives to count false tags on the last
quarter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from embeddings import Vectors, frozen, negatives, world34
from numpy.typing import NDArray
from record import record, table
from sklearn.linear_model import LogisticRegression

from landmarks.fewshot.learned import LearnedLandmark, LearnedLandmarks
from landmarks.fewshot.reference import make_reference

LANDMARKS, PHOTOS, DRAWS, SURE = 5, 5, 5, 0.5
CHOOSING, FIRST_CHOOSING, SHOWN = 16, 100, 0.2


@dataclass(frozen=True)
class Figures:
    """Results of one draw, as fractions.

    Attributes:
        recall: Images of the learned landmarks that get the correct name, mean over the landmarks.
        alone: Photos without a landmark that get a tag if one landmark is learned, mean over the landmarks.
        together: The same if all are learned.
        accuracy: Images of the other landmarks that the head recognises.
        lost: Images among these that get the tag of a learned landmark.
    """

    recall: float
    alone: float
    together: float
    accuracy: float
    lost: float

    def cells(self) -> list[str]:
        """The shares as stored in the table."""
        return [f"{value:.2%}" for value in astuple(self)]


@dataclass(frozen=True)
class Shown:
    """Embedded evaluation data of a draw: images of landmarks with their classes, and negatives."""

    pictures: Vectors
    labels: NDArray[np.int64]
    negatives: Vectors


def said(learned: LearnedLandmarks, embeddings: Vectors) -> NDArray[np.str_]:
    """The predicted names, empty without a tag."""
    matches = [learned.match(embedding, min_confidence=SURE) for embedding in embeddings]
    return np.array(["" if match is None else match.landmark.name for match in matches])


def measure(
    photos: Vectors, labels: NDArray[np.int64], choosing: Vectors, shown: Shown, rng: np.random.Generator
) -> Figures:
    """Hold landmarks out, train on the photos of the others, learn those held out, and evaluate."""
    held = rng.choice(labels.max() + 1, LANDMARKS, replace=False)
    fit = ~np.isin(labels, held)
    reference = make_reference(photos[fit], labels[fit], choosing)
    head = LogisticRegression(C=100, max_iter=200, tol=1e-2).fit(photos[fit], labels[fit])
    landmarks = []
    for label in held:
        chosen = rng.permutation(np.flatnonzero(labels == label))[:PHOTOS]
        vectors = reference.space.vectors(photos[chosen])
        landmarks.append(LearnedLandmark(str(label), vectors, vectors[:0]))
    empty = LearnedLandmarks("", reference, [f"class {label}" for label in np.unique(reference.labels)])
    together = empty.with_landmarks(landmarks)
    names, known = shown.labels.astype(str), ~np.isin(shown.labels, held)
    answers = said(together, shown.pictures)
    right = head.predict(shown.pictures[known]) == shown.labels[known]
    alone = [(said(empty.with_landmarks([one]), shown.negatives) != "").mean() for one in landmarks]
    return Figures(
        recall=float(np.mean([(answers[names == one.name] == one.name).mean() for one in landmarks])),
        alone=float(np.mean(alone)),
        together=float((said(together, shown.negatives) != "").mean()),
        accuracy=float(right.mean()),
        lost=float((right & (answers[known] != "")).mean()),
    )


def choose(photos: Vectors, labels: NDArray[np.int64], first: Vectors) -> list[Figures]:
    """Measure without the test images and the second half of the negatives."""
    found = []
    for draw in range(FIRST_CHOOSING, FIRST_CHOOSING + CHOOSING):
        rng = np.random.default_rng(draw)
        kept, quarter = rng.random(len(labels)) >= SHOWN, np.arange(len(first)) % 4 == draw % 4
        shown = Shown(photos[~kept], labels[~kept], first[quarter])
        found.append(measure(photos[kept], labels[kept], first[~quarter], shown, rng))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/search"))
    parser.add_argument("--choose", action="store_true", help="Show what the rule was chosen on; records nothing.")
    given = parser.parse_args()
    train = world34(given.data, "train")
    photos = frozen(train.paths, given.cache)["plain"]
    choosing, second = (frozen(half, given.cache)["plain"] for half in negatives(given.data))
    header = ["draw", "recall of the learnt", "false tags of one landmark", "false tags of all five"]
    header += ["accuracy of the others before", "lost by them"]
    if given.choose:
        print(table(header, _rows(choose(photos, train.labels, choosing), FIRST_CHOOSING)))
        return
    test = world34(given.data, "test")
    shown = Shown(frozen(test.paths, given.cache)["plain"], test.labels, second)
    figures = [
        measure(photos, train.labels, choosing, shown, np.random.default_rng(draw)) for draw in range(DRAWS)
    ]
    body = table(header, _rows(figures, 0))
    body += (
        f"\n\n{LANDMARKS} landmarks of world34 left out in each draw, {PHOTOS} photos each. Thresholds on "
        f"{len(choosing)} negatives, false tags on {len(second)} others. Recall is the mean over the landmarks of "
        "the share of their test pictures that get the right name, with all five learnt. The rule was chosen with "
        "`--choose`: on training pictures, other draws and the first half of the negatives."
    )
    record(
        "enroll", "Landmarks from five photos", "python benchmarks/enroll.py DATA", body, ["numpy", "scikit-learn"]
    )


def _rows(figures: Sequence[Figures], first: int) -> list[list[str]]:
    mean = Figures(*np.mean([astuple(one) for one in figures], axis=0).tolist())
    rows = [[str(draw), *one.cells()] for draw, one in enumerate(figures, start=first)]
    return [*rows, ["mean", *mean.cells()]]


if __name__ == "__main__":
    main()
