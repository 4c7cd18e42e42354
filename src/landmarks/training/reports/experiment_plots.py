"""Plots over many runs: the curves of two, the trials of a study, the importance of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landmarks.training.reports.style import BLUE, INK, MUTED, ORANGE, PALE, PERCENT, new_figure, style


def compared_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draw the loss and accuracy of two runs: validation in full lines, training in thin ones.

    Args:
        histories: Rows of each run by its name, as `plots.learning_curves` takes them; may be empty.
    """
    with style():
        figure = new_figure(8.5, 3.4)
        loss, accuracy = figure.subplots(1, 2)
        for (name, rows), colour in zip(histories.items(), (BLUE, ORANGE), strict=True):
            epochs = [row["epoch"] + 1 for row in rows]
            marker = "o" if len(rows) <= 15 else None
            for axes, kind in ((loss, "loss"), (accuracy, "accuracy")):
                valid = [row[f"valid_{kind}"] for row in rows]
                axes.plot(epochs, valid, color=colour, label=name, marker=marker, markersize=3.5)
                train = [row[f"train_{kind}"] for row in rows]
                axes.plot(epochs, train, color=colour, linewidth=0.9, linestyle=(0, (2, 2)))
        loss.set(title="Loss")
        loss.set_ylim(bottom=0)
        accuracy.set(title="Accuracy", ylim=(0, 1.02))
        accuracy.yaxis.set_major_formatter(PERCENT)
        for axes in (loss, accuracy):
            axes.set(xlabel="epoch; validation in full lines, training in broken ones")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
        figure.legend(*loss.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def rate_test(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Figure:
    """Draw the smoothed loss by learning rate, with the suggested rate.

    Args:
        rates: Learning rates, rising.
        losses: Smoothed loss at each.
        suggestion: The rate to mark, one of them.
    """
    with style():
        figure = new_figure(6.5, 3.4)
        axes = figure.subplots()
        axes.plot(rates, losses, color=BLUE)
        height = losses[list(rates).index(suggestion)]
        axes.axvline(suggestion, color=ORANGE, linewidth=1, linestyle=(0, (3, 2)))
        axes.plot([suggestion], [height], "o", color=ORANGE, markersize=6)
        axes.annotate(
            f"falls fastest at {suggestion:.1e}", (suggestion, height), xytext=(8, 8), textcoords="offset points"
        )
        axes.set_xscale("log")
        axes.set(xlabel="learning rate", ylabel="smoothed loss", title="Learning-rate test")
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
    return figure


def study_history(values: Mapping[int, float], pruned: Mapping[int, float], label: str, *, lower: bool) -> Figure:
    """Draw the metric of each trial of a study, and the best so far.

    Args:
        values: Metric of each finished trial by its number, at least one.
        pruned: The last metric of each trial that was stopped early.
        label: Name of the metric.
        lower: Whether a lower metric is better.
    """
    numbers = sorted(values)
    reached = np.array([values[number] for number in numbers])
    best = (np.minimum if lower else np.maximum).accumulate(reached)
    with style():
        figure = new_figure(7.5, 3.4)
        axes = figure.subplots()
        axes.plot(numbers, reached, "o", color=BLUE, markersize=4.5, label="finished")
        axes.plot(list(pruned), list(pruned.values()), "x", color=MUTED, markersize=5, label="stopped early")
        axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
        # A trial that went wrong would squeeze all others into a line.
        low, high = reached.min(), np.quantile(reached, 0.9) if lower else reached.max()
        if not lower:
            low = np.quantile(reached, 0.1)
        room = 0.15 * max(high - low, 1e-3)
        axes.set_ylim(low - room, high + room)
        axes.set(xlabel="trial", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Draw the importance of each setting, the most important on top.

    Args:
        shares: Importance of each setting in [0, 1], at least one.
    """
    rows = sorted(shares.items(), key=lambda item: item[1])
    places = range(len(rows))
    with style():
        figure = new_figure(7.5, 0.9 + 0.3 * len(rows))
        axes = figure.subplots()
        axes.barh(places, [share for _, share in rows], 0.66, color=PALE)
        axes.set_yticks(places, [name for name, _ in rows])
        for place, (_, share) in zip(places, rows, strict=True):
            axes.text(share, place, f" {share:.0%}", va="center", color=INK, fontsize=8)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlim=(0, 1.08), xlabel="fraction of the variation that the setting explains")
        axes.xaxis.set_major_formatter(PERCENT)
        axes.spines["left"].set_visible(False)
    return figure
