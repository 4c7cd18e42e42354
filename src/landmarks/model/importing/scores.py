"""Finds out what the outputs of a foreign recogniser mean, from its answers to made pictures.

Softmax over values that are probabilities already would make every class equally likely, so the answers are
compared with what the user states.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError

Meaning = Literal["logits", "probabilities", "sigmoid", "cosines"]
Scores = Literal["auto", "logits", "probabilities", "sigmoid", "cosines"]
"""Meaning of an output; `auto` to find out whether it is probabilities already."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "probabilities": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "cosines": (-1.0, 1.0),
}
_SLACK = 1e-2
"""Rounding of quantised outputs."""


def made_pictures(side: int) -> NDArray[np.uint8]:
    """Return black, white, a gradient and noise, (4, side, side, 3): the same pictures at every call."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return np.stack([np.zeros_like(noise), np.full_like(noise, 255), gradient, noise])


def class_output(
    path: Path,
    answers: Mapping[str, NDArray[np.float32]],
    *,
    classes: int,
    scores: Scores,
    ends: Mapping[str, str],
) -> tuple[str, Meaning]:
    """Return the output with one value per class, and what its values mean.

    Args:
        path: Path of the model, for messages.
        answers: Output -> its values for some pictures, (P, ...).
        classes: Number of classes.
        scores: Meaning as stated by the user.
        ends: Output -> the operation that makes it.

    Raises:
        ModelError: No output fits, several do, its values are not finite, or they are not what the user states.
    """
    rows = {name: values for name, values in answers.items() if values.size == len(values) * classes}
    rows = {name: values.reshape(len(values), classes) for name, values in rows.items()}
    if len(rows) > 1:
        summed = {name for name, values in rows.items() if _seen(values, ends.get(name, "")) == "probabilities"}
        wanted = summed if scores == "probabilities" else set(rows) - summed
        rows = {name: values for name, values in rows.items() if name in wanted} if len(wanted) == 1 else rows
    if len(rows) != 1:
        listed = ", ".join(f"{name} with {values[0].size} values" for name, values in answers.items())
        fix = "export it with one of them" if rows else "give the right labels"
        raise ModelError(f"{path}: {classes} labels fit {len(rows)} of its outputs ({listed}): {fix}")
    ((name, values),) = rows.items()
    if not np.isfinite(values).all():
        raise ModelError(
            f"{path}: its output {name} is not a number for some pictures: check `preprocessing` or export it "
            "again"
        )
    return name, _meaning(path, values, scores, _seen(values, ends.get(name, "")))


def _meaning(path: Path, values: NDArray[np.float32], scores: Scores, seen: Meaning) -> Meaning:
    if scores == "auto":
        return seen
    if scores == "logits" and seen != "logits":
        how = "of a sigmoid" if seen == "sigmoid" else "they sum to 1"
        raise ModelError(f"{path}: its outputs are probabilities already ({how}): give `scores` {seen}")
    low, high = _RANGES.get(scores, (-np.inf, np.inf))
    least, most = float(values.min()), float(values.max())
    if least < low - _SLACK or most > high + _SLACK:
        raise ModelError(
            f"{path}: its outputs run from {least:.3g} to {most:.3g}, so they are not {scores}: give the right "
            "`scores`"
        )
    return scores


def _seen(values: NDArray[np.float32], end: str) -> Meaning:
    """Return what values seem to be. Rounded probabilities of many classes need not sum to 1."""
    if end == "Sigmoid":
        return "sigmoid"
    summed = values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=_SLACK)
    return "probabilities" if summed or end == "Softmax" else "logits"
