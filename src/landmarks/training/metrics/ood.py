"""Metrics of OOD detection: uAP, AUROC, false-positive rate and recall at a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.model.probabilities import Floats


def micro_average_precision(confidences: Floats, right: NDArray[np.bool_], landmarks: int) -> float:
    """Return uAP, the GAP of the Google Landmarks challenge: one ranking over the predictions for all images.

    Source: Weyand, Araujo, Cao and Sim, "Google Landmarks Dataset v2", CVPR 2020,
    https://arxiv.org/abs/2004.01804; the measure is from Perronnin, Liu and Renders, "A family of contextual
    measures of similarity between distributions with application to image retrieval", CVPR 2009.

    Args:
        confidences: One per image with a prediction; ties are ranked in the given order.
        right: Whether the prediction is correct; False for an image without a landmark.
        landmarks: Number of images with a landmark, predicted or not; at least 1.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmarks)


def auroc(positives: Floats, negatives: Floats) -> float:
    """Return the probability that a positive scores higher than a negative; ties count half.

    This is the area under the ROC curve (Hanley and McNeil, Radiology 143, 1982).

    Args:
        positives: Scores of known images, at least one.
        negatives: Scores of unknown images, at least one.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))
