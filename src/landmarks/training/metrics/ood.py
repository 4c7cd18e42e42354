"""Metrics of out-of-distribution detection: uAP, AUROC, false tags and recall at a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.model.probabilities import Floats


def micro_average_precision(confidences: Floats, right: NDArray[np.bool_], landmarks: int) -> float:
    """Return uAP, the GAP of the Google Landmarks challenge: one ranking over the predictions for all pictures.

    Source: Weyand, Araujo, Cao and Sim, "Google Landmarks Dataset v2", CVPR 2020,
    https://arxiv.org/abs/2004.01804; the measure is from Perronnin, Liu and Renders, "A family of contextual
    measures of similarity between distributions with application to image retrieval", CVPR 2009.

    Args:
        confidences: One per picture with a prediction; of equal ones the earlier counts as higher.
        right: Whether the prediction is right; never for a picture without a landmark.
        landmarks: How many pictures show a landmark, answered or not; at least 1.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmarks)


def auroc(positives: Floats, negatives: Floats) -> float:
    """Return the chance that a positive scores higher than a negative, ties counting half.

    This is the area under the ROC curve (Hanley and McNeil, Radiology 143, 1982).

    Args:
        positives: Scores of pictures that are known, at least one.
        negatives: Scores of pictures that are not, at least one.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))
