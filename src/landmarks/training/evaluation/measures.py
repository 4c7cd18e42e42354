"""Metrics of selective prediction: risk against coverage, false tags against true ones, uAP and AUROC.

Scores are compared as by a threshold: photos with equal scores pass together or not at all, so no metric depends
on the order of the photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from landmarks.model.probabilities import Floats


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Coverage and risk at each threshold, strictest first.

    Attributes:
        thresholds: The distinct scores, descending.
        coverage: Fraction of the photos whose score reaches the threshold.
        risk: Fraction of these that are wrong.
        area: AURC, the mean risk over the photos in the order of their scores.
    """

    thresholds: NDArray[np.float64]
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float


def risk_coverage(scores: Floats, right: NDArray[np.bool_]) -> RiskCoverage:
    """Return the risk-coverage curve (Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500).

    Args:
        scores: (N,), confidence of each answer, N >= 1.
        right: (N,), whether it is correct.
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
    """Return the false-positive rate at the strictest threshold that keeps `recall` of the positives.

    Args:
        positives: Scores of known photos, at least one.
        negatives: Scores of unknown photos, at least one.
        recall: Target recall, in (0, 1].
    """
    falling = np.sort(np.asarray(positives, dtype=np.float64))[::-1]
    needed = ceil(recall * len(falling) * (1 - 1e-12))  # slightly less, because 0.95 * 20 must round to 19
    return float((np.asarray(negatives) >= falling[needed - 1]).mean())


def global_average_precision(scores: Floats, right: NDArray[np.bool_], landmarks: int) -> float:
    """Return uAP, also called GAP: the average precision of one ranking of the answers for all photos.

    Among equal scores wrong answers rank higher (the pessimistic choice). Source: Weyand et al., "Google Landmarks
    Dataset v2", CVPR 2020, https://arxiv.org/abs/2004.01804; the measure is from Perronnin, Liu and Renders, "A
    family of contextual measures of similarity between distributions with application to image retrieval", CVPR
    2009.

    Args:
        scores: One for each photo with an answer.
        right: Whether it is correct; False for a photo without a known landmark.
        landmarks: Number of photos with a known landmark, answered or not; at least 1.
    """
    hits = np.asarray(right, dtype=np.float64)
    hits = hits[np.lexsort((hits, -np.asarray(scores, dtype=np.float64)))]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmarks)


def auroc(positives: Floats, negatives: Floats) -> float:
    """Return the probability that a positive scores higher than a negative; ties count half.

    This is the area under the ROC curve (Hanley and McNeil, Radiology 143, 1982).

    Args:
        positives: Scores of known photos, at least one.
        negatives: Scores of unknown photos, at least one.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))


def pass_rates(scores: Floats, passes: NDArray[np.bool_], thresholds: Floats) -> NDArray[np.float64]:
    """Return for each threshold the fraction of all photos that reach it and for which `passes` holds.

    Args:
        scores: (N,), at least one.
        passes: (N,) bool.
        thresholds: (T,) in any order.
    """
    reaching = np.sort(np.asarray(scores, dtype=np.float64)[passes])
    counts = len(reaching) - np.searchsorted(reaching, np.asarray(thresholds, dtype=np.float64), side="left")
    shares: NDArray[np.float64] = counts / len(scores)
    return shares
