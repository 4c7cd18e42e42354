"""Plots of single classes over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landmarks.training.reports.class_names import class_labels
from landmarks.training.reports.style import BLUE, MUTED, ORANGE, PERCENT, new_figure, style

SHOWN = 5
"""Classes per plot: more lines cannot be told apart."""

WINDOW = 3
"""Epochs over which accuracies are averaged: with few images per class one epoch says little."""

SMALLEST = 0.02
"""Changes below are noise and are not drawn."""

_COLOURS = (BLUE, ORANGE, "#4d8b57", "#8a5a9e", "#b23a48")


def class_curves(history: Mapping[str, Sequence[float]]) -> Figure | None:
    """Draw the validation accuracy of the classes that gained most, and of those that fell most from their best.

    Args:
        history: Accuracy of each class in [0, 1], by epoch.

    Returns:
        The figure, or None with fewer than two epochs.
    """
    names = list(history)
    if not names or len(history[names[0]]) < 2:
        return None
    curves = np.array([_smoothed(history[name]) for name in names])
    labels = class_labels(names)
    gains, falls = curves[:, -1] - curves[:, 0], curves.max(axis=1) - curves[:, -1]
    with style():
        figure = new_figure(9.5, 3.6)
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, "Gained most since the first epoch", curves, _largest(gains, labels, "+"))
        _draw(right, "Fell most from their best", curves, _largest(falls, labels, "-"))
    return figure


def _largest(changes: NDArray[np.float64], labels: Sequence[str], sign: str) -> dict[int, str]:
    """Return the classes of the largest changes with their text in the legend, by index."""
    order = [int(index) for index in np.argsort(-changes, kind="stable")[:SHOWN]]
    return {
        index: f"{labels[index]}  {sign}{changes[index] * 100:.0f} points"
        for index in order
        if changes[index] >= SMALLEST
    }


def _draw(axes: Axes, title: str, curves: NDArray[np.float64], chosen: Mapping[int, str]) -> None:
    """Draw the chosen classes, and the mean of all."""
    epochs = np.arange(1, curves.shape[1] + 1)
    marker = "o" if len(epochs) <= 15 else None
    dashed: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 3))}
    axes.plot(epochs, curves.mean(axis=0), label="mean of all classes", **dashed)
    for (index, label), colour in zip(chosen.items(), _COLOURS, strict=False):
        axes.plot(epochs, curves[index], color=colour, label=label, marker=marker, markersize=3.5)
    axes.set(title=title, xlabel="epoch", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=7.5)


def _smoothed(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the mean of each value and those before it, `WINDOW` in all."""
    return np.array([np.mean(values[max(0, index - WINDOW + 1) : index + 1]) for index in range(len(values))])
