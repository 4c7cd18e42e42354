"""From logits to calibrated probabilities: softmax at a temperature, and temperature scaling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of logits (N, K) at a temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def log_sum_exp(values: Floats) -> NDArray[np.float64]:
    """Return the logarithm of the sum of the exponentials of each row, (N,), of values (N, K)."""
    wide = np.asarray(values, dtype=np.float64)
    largest = wide.max(axis=1, keepdims=True)
    total: NDArray[np.float64] = np.log(np.exp(wide - largest).sum(axis=1)) + largest[:, 0]
    return total


def fit_temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature that minimises the cross-entropy of the labels.

    Temperature scaling of Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017,
    https://arxiv.org/abs/1706.04599. The cross-entropy is convex in the inverse temperature, so its slope has one
    zero, which bisection finds. Where no image is misclassified the slope has none, and every answer would get a
    probability of 1: then the runner-up counts as correct in one of N + 2 cases (Platt 1999).

    Args:
        logits: (N, K), of images the network was not trained on.
        labels: (N,), the correct classes.

    Returns:
        The temperature, from 0.01 to 100.
    """
    values, rows = np.array(logits, dtype=np.float64), np.arange(len(labels))
    of_truth = values[rows, labels]
    values[rows, labels] = -np.inf  # for the runner-up: another copy may take a quarter of a gigabyte
    lead = of_truth - values.max(axis=1)
    values[rows, labels] = of_truth
    if (lead >= 0).all():
        of_truth = of_truth - lead / (len(labels) + 2)
    low, high = math.log(0.01), math.log(100.0)  # of the inverse temperature
    for _ in range(60):
        middle = (low + high) / 2
        expected = (softmax(values, math.exp(-middle)) * values).sum(axis=1)
        if (expected - of_truth).mean() < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def highest(values: Floats, count: int, *, allowed: NDArray[np.bool_]) -> list[int]:
    """Return the indices of the highest allowed values (K,), highest first; ties go to the first.

    Takes one pass over very many values.
    """
    places = np.flatnonzero(allowed)
    kept = np.asarray(values)[places]
    if len(kept) > count > 0:
        least = np.partition(kept, len(kept) - count)[len(kept) - count]
        places, kept = places[kept >= least], kept[kept >= least]
    order = np.argsort(-kept, kind="stable")[:count]
    return [int(place) for place in places[order]]
