"""Landmarks learnt from five photos each: recall, false tags, and what the landmarks known before lose.

Run `python benchmarks/enroll.py DATA`, DATA being the folder that holds world34 and negatives; the embeddings are
those of the frozen backbone (see `benchmarks/embeddings.py`), computed once and cached. In each of 5 draws, 5
landmarks are left out of world34; on the rest a linear head and the reference are trained, with the first half of
the negatives. Each landmark left out is then learnt from 5 training pictures, by the code of `landmarks learn`,
and all are measured on world34's test pictures and the second half of the negatives. The table goes to the screen
and to benchmarks/results/enroll.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from embeddings import Vectors, frozen, negatives, world34
from numpy.typing import NDArray
from record import record, table
from sklearn.linear_model import LogisticRegression

from landmarks.learned import LearnedLandmarks
from landmarks.reference import make_reference, unit
from landmarks.search.enroll import calibrate_landmark

LANDMARKS, PHOTOS, DRAWS, SURE = 5, 5, 5, 0.5


def said(learned: LearnedLandmarks, embeddings: Vectors) -> NDArray[np.str_]:
    """The names that are said, empty where none is."""
    matches = [learned.match(embedding, sure=SURE) for embedding in embeddings]
    return np.array(["" if match is None else match.landmark.name for match in matches])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/search"))
    given = parser.parse_args()
    train, test = world34(given.data, "train"), world34(given.data, "test")
    photos, pictures = (frozen(split.paths, given.cache)["plain"] for split in (train, test))
    choosing, shown = (frozen(half, given.cache)["plain"] for half in negatives(given.data))
    rows, figures = [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        held = rng.choice(train.labels.max() + 1, LANDMARKS, replace=False)
        fit = ~np.isin(train.labels, held)
        reference = make_reference(photos[fit], train.labels[fit], choosing)
        numbers = np.unique(reference.labels)
        means = unit(np.stack([reference.vectors[reference.labels == one].mean(axis=0) for one in numbers]))
        head = LogisticRegression(C=100, max_iter=200, tol=1e-2).fit(photos[fit], train.labels[fit])
        landmarks = []
        for label in held:
            chosen = rng.permutation(np.flatnonzero(train.labels == label))[:PHOTOS]
            taught = reference.space.vectors(photos[chosen])
            nobody = np.empty((0, taught.shape[1]), dtype=np.float32)
            landmarks.append(calibrate_landmark(str(label), taught, nobody, reference.negatives))
        alone = [LearnedLandmarks("", reference.space, means, [one]) for one in landmarks]
        together = LearnedLandmarks("", reference.space, means, landmarks)
        names, known = test.labels.astype(str), ~np.isin(test.labels, held)
        answers = said(together, pictures)
        recall = np.mean([(answers[names == one.name] == one.name).mean() for one in landmarks])
        right = head.predict(pictures[known]) == test.labels[known]
        lost = right.mean() - (right & (answers[known] == "")).mean()
        single = np.mean([(said(one, shown) != "").mean() for one in alone])
        figures.append((recall, single, (said(together, shown) != "").mean(), right.mean(), lost))
        rows.append([str(draw), *(f"{value:.2%}" for value in figures[-1])])
    rows.append(["mean", *(f"{value:.2%}" for value in np.mean(figures, axis=0))])
    header = ["draw", "recall of the learnt", "false tags of one landmark", "false tags of all five"]
    body = table([*header, "accuracy of the others before", "lost by them"], rows)
    body += (
        f"\n\n{LANDMARKS} landmarks of world34 left out in each draw, {PHOTOS} photos each. Thresholds on "
        f"{len(choosing)} negatives, false tags on {len(shown)} others. Recall is the mean over the landmarks of "
        "the share of their test pictures that get the right name."
    )
    record(
        "enroll", "Landmarks from five photos", "python benchmarks/enroll.py DATA", body, ["numpy", "scikit-learn"]
    )


if __name__ == "__main__":
    main()
