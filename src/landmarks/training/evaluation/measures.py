"""Measures of answers that may be withheld: risk against coverage, false tags against true ones.

Scores are compared as a threshold compares them: photos of one score pass together or not at all, so no measure
depends on the order of the photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from landmarks.model.probabilities import Floats
from landmarks.training.metrics.ood import micro_average_precision


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is answered and how much of it is wrong, threshold by threshold from the strictest on.

    Attributes:
        thresholds: The different scores, falling.
        coverage: Share of the photos whose score reaches the threshold.
        risk: Share of those that are wrong.
        area: AURC, the mean risk over the photos in the order of their scores.
    """

    thresholds: NDArray[np.float64]
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float


def risk_coverage(scores: Floats, right: NDArray[np.bool_]) -> RiskCoverage:
    """Return the risk-coverage curve (Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500).

    Args:
        scores: (N,) how sure each answer is, at least one.
        right: (N,) whether it is right.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ordered = np.asarray(scores, dtype=np.float64)[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # the last of each run of equal scores
    passed = np.flatnonzero(last) + 1
    wrong = np.cumsum(~np.asarray(right)[order])[last]
    risk = wrong / passed
    weights = np.diff(passed, prepend=0)
    return RiskCoverage(ordered[last], passed / len(ordered), risk, float((risk * weights).sum() / len(ordered)))


def fpr_at_recall(positives: Floats, negatives: Floats, recall: float = 0.95) -> float:
    """Return the share of negatives that pass the strictest threshold which keeps `recall` of the positives.

    Args:
        positives: Scores of photos that are known, at least one.
        negatives: Scores of photos that are not, at least one.
        recall: In (0, 1].
    """
    falling = np.sort(np.asarray(positives, dtype=np.float64))[::-1]
    needed = ceil(recall * len(falling) * (1 - 1e-12))  # a hair less, because 0.95 * 20 must be 19
    return float((np.asarray(negatives) >= falling[needed - 1]).mean())


def global_average_precision(scores: Floats, right: NDArray[np.bool_], landmarks: int) -> float:
    """Return uAP, also called GAP; of equal scores the wrong answers count as higher, which promises nothing.

    Args:
        scores: One for each photo that got an answer.
        right: Whether it is right; never for a photo without a landmark that the model knows.
        landmarks: How many photos show a landmark that the model knows; at least 1.
    """
    wrong_first = np.argsort(np.asarray(right), kind="stable")
    return micro_average_precision(np.asarray(scores)[wrong_first], np.asarray(right)[wrong_first], landmarks)


def pass_rates(scores: Floats, passes: NDArray[np.bool_], thresholds: Floats) -> NDArray[np.float64]:
    """Return for each threshold the share of all photos that reach it and for which `passes` holds.

    Args:
        scores: (N,), at least one.
        passes: (N,) bool.
        thresholds: (T,) in any order.
    """
    reaching = np.sort(np.asarray(scores, dtype=np.float64)[passes])
    counts = len(reaching) - np.searchsorted(reaching, np.asarray(thresholds, dtype=np.float64), side="left")
    shares: NDArray[np.float64] = counts / len(scores)
    return shares
