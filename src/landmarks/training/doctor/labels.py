"""Finds likely wrong labels by confident learning on the embeddings of a frozen backbone.

Confident learning (Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
2021, https://arxiv.org/abs/1911.00068) predicts each image with a classifier that has not seen it. An image of
class i that looks like class j with at least the mean confidence for class j counts towards cell (i, j) of the
confident joint: off the diagonal are the likely wrong labels. Images below that confidence, but for which another
class is many times more probable than their own, are worth a look.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from landmarks.training.doctor.folds import split_folds

STRENGTH = 10.0
"""Inverse strength of the L2 penalty of the logistic regression, for embeddings of unit length."""

ODDS = 10.0
"""Ratio of the probability of another class to that of its own from which an image is worth a look."""


@dataclass(frozen=True)
class LabelIssue:
    """An image that looks like another class than its own.

    Attributes:
        position: Row of the image.
        suggested: The class it looks like.
        own: Out-of-fold probability of its own class.
        other: Probability of `suggested`.
        confident: Whether it is off the diagonal of the confident joint.
    """

    position: int
    suggested: int
    own: float
    other: float
    confident: bool

    @property
    def score(self) -> float:
        """The normalised margin, scaled from 0 (certainly its own class) to 1 (certainly the other)."""
        return (1 + self.other - self.own) / 2


def out_of_fold_probabilities(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: Sequence[Sequence[int]],
    *,
    classes: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64] | None:
    """Return the out-of-fold probabilities of a logistic regression for each image.

    Args:
        embeddings: (N, D) of unit length.
        labels: (N,) in [0, classes).
        groups: Positions of near-duplicates, which are kept in one fold.
        classes: Number of classes K.
        seed: Seed of the folds.
        progress: Called with (folds done, total folds).

    Returns:
        (N, K), or None if there are too few images to cross-validate. A class missing from the other folds has
        probability 0 in a fold.
    """
    folds = list(split_folds(labels, groups, seed=seed))
    if not folds:
        return None
    probabilities = np.zeros((len(labels), classes))
    for done, (known, asked) in enumerate(folds, start=1):
        present = np.unique(labels[known])
        if len(present) == 1:
            probabilities[asked, present[0]] = 1.0
        else:
            # Close to the optimum is good enough here.
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                model = LogisticRegression(C=STRENGTH, max_iter=200).fit(embeddings[known], labels[known])
            probabilities[np.ix_(asked, model.classes_)] = model.predict_proba(embeddings[asked])
        if progress:
            progress(done, len(folds))
    return probabilities


def confident_classes(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each image, the most probable class that reaches its threshold, -1 if none does.

    The threshold of a class is its mean probability over its own images.

    Args:
        probabilities: (N, K).
        labels: (N,) in [0, K).
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes)
    # A class that no fold has learnt, as of one picture, has no threshold: 0 would let every picture pass.
    thresholds = np.divide(own, counts, out=np.full(classes, np.inf), where=own > 0)
    above = probabilities >= thresholds
    best = np.where(above, probabilities, -1.0).argmax(axis=1)
    return np.where(above.any(axis=1), best, -1)


def confident_joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the images of class i (row) that confidently look like class j (column), (K, K)."""
    confident = confident_classes(probabilities, labels)
    sure = confident >= 0
    joint = np.zeros((probabilities.shape[1],) * 2, dtype=np.int64)
    np.add.at(joint, (labels[sure], confident[sure]), 1)
    return joint


def find_label_issues(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[LabelIssue]:
    """Return the images that look like another class, most confident first.

    Args:
        probabilities: (N, K), out of fold.
        labels: (N,) in [0, K).
    """
    rows = np.arange(len(labels))
    confident = confident_classes(probabilities, labels)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    likeliest = others.argmax(axis=1)
    issues = []
    for row in rows.tolist():
        sure = confident[row] >= 0 and confident[row] != labels[row]
        suggested = int(confident[row] if sure else likeliest[row])
        other = float(probabilities[row, suggested])
        if sure or other >= ODDS * own[row]:
            issues.append(LabelIssue(row, suggested, float(own[row]), other, bool(sure)))
    return sorted(issues, key=lambda issue: -issue.score)
