"""Every plot of a run: curves, confusions, reliability, scores by class, sheets of photos.

Each function returns a figure of its own and changes no global state of matplotlib, so it can be called in a
service or a notebook. `save_figure` writes a figure as PNG.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.files.atomic import write_bytes
from landmarks.training.metrics.confusion import Confusion
from landmarks.training.metrics.evaluate import Evaluation, Reliability
from landmarks.training.reports.class_names import class_labels, drawable
from landmarks.training.reports.style import BLUE, INK, MUTED, ORANGE, PALE, PERCENT, new_figure, style

DPI = 150
"""Dots per inch of every PNG."""

MOST_CLASSES = 60
"""Above this many classes a confusion matrix is too large to read, and the most confused pairs are drawn."""

MOST_PAIRS = 30
MOST_BARS = 100

_RIGHT = LinearSegmentedColormap.from_list("right", ["#f6f8fa", PALE, "#5f93bd", "#1d4466"])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#f6f8fa", "#f9d9b9", ORANGE, "#7d3c0c"]).with_extremes(
    bad="#ececec"
)
_ALL_RIGHT = PowerNorm(0.6, vmin=0.0, vmax=1.0)
_HALF_WRONG = PowerNorm(0.6, vmin=0.0, vmax=0.5, clip=True)  # lifts small fractions: mistakes are the news


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically; raises `StorageError` when it cannot be written."""
    write_bytes(path, png_bytes(figure))


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG with `DPI` dots per inch, cut to its content."""
    content = io.BytesIO()
    with style():
        # Cut, because an axes of fixed aspect leaves a margin that depends on the length of the names.
        figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    return content.getvalue()


def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss, accuracy and learning rate by epoch; the epoch whose weights were saved is marked.

    Args:
        history: One row per epoch with `epoch` (from 0), `train_loss`, `valid_loss`, `train_accuracy`,
            `valid_accuracy` (in [0, 1]) and `learning_rate`. A value that a row lacks leaves a gap. Where no row
            has `saved`, the lowest validation loss is marked.

    Raises:
        DataError: The history is empty.
    """
    if not history:
        raise DataError("no epoch to draw: train for at least one epoch")
    columns = {
        key: np.array([float(row.get(key, np.nan)) for row in history])
        for key in ("epoch", "train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "learning_rate")
    }
    columns["epoch"] += 1  # people count from 1, as the terminal does
    saved = [index for index, row in enumerate(history) if row.get("saved")]
    with style():
        figure = new_figure(9.5, 3.3)
        loss, accuracy, speed = figure.subplots(1, 3, width_ratios=[4, 4, 3])
        for axes, kind in ((loss, "loss"), (accuracy, "accuracy")):
            _curve(axes, columns["epoch"], columns[f"train_{kind}"], BLUE, "training")
            _curve(axes, columns["epoch"], columns[f"valid_{kind}"], ORANGE, "validation")
            _mark_best(axes, columns, kind, saved)
        _curve(speed, columns["epoch"], columns["learning_rate"], MUTED, "learning rate")
        _from_zero(loss, columns["train_loss"], columns["valid_loss"])
        _from_zero(speed, columns["learning_rate"])
        accuracy.set(title="Accuracy", ylim=(0, 1.02))
        accuracy.yaxis.set_major_formatter(PERCENT)
        loss.set(title="Loss")
        loss.legend(loc="best")
        speed.set(title="Learning rate")
        for axes in (loss, accuracy, speed):
            axes.set(xlabel="epoch", xlim=(columns["epoch"].min() - 0.5, columns["epoch"].max() + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
    return figure


def confusion_matrix(confusion: Confusion, class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix: a row is a true class, its colours are fractions of the images of that row.

    Right predictions are blue, mistakes orange with their number. A class without images has a grey row. Above
    `MOST_CLASSES` classes the most confused pairs are drawn instead.

    Args:
        confusion: How often which class was predicted for which, in the order of the names.
        class_names: K names.
    """
    if len(class_names) > MOST_CLASSES:
        return _confused_bars(confusion, class_names)
    counts = confusion.table()
    classes = len(counts)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.where(support > 0, counts / np.maximum(support, 1), np.nan)
    cell = float(np.interp(classes, [2, 10, 20, 40, 100], [0.8, 0.5, 0.33, 0.2, 0.13]))
    size = float(np.interp(classes, [2, 20, 40, 100], [9, 8.5, 8, 7]))
    labels = class_labels(class_names)
    sides = 2 if classes > 20 else 1  # far from its label nobody finds a row or a column
    margin = 0.35 + 0.09 * max(len(label) for label in labels) * size / 9
    with style():
        figure = new_figure(cell * classes + sides * margin + 0.3, cell * classes + sides * margin + 1.9)
        axes = figure.subplots()
        lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.2 if classes <= 20 else 0.4}
        diagonal = np.eye(classes, dtype=bool)
        mistakes = np.ma.masked_invalid(np.where(diagonal & (support > 0), 0.0, shares))
        wrong = axes.pcolormesh(mistakes, cmap=_WRONG, norm=_HALF_WRONG, **lines)
        hits = np.ma.masked_where(~diagonal | np.isnan(shares), shares)
        right = axes.pcolormesh(hits, cmap=_RIGHT, norm=_ALL_RIGHT, **lines)
        middles = np.arange(classes) + 0.5
        axes.set_xticks(middles, labels, rotation=90, fontsize=size)
        axes.set_yticks(middles, labels, fontsize=size)
        axes.tick_params(length=0, labelcolor=INK, labeltop=sides == 2, labelright=sides == 2)
        axes.tick_params(axis="x", rotation=90)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        axes.set(xlabel="predicted", ylabel="true")
        _print_counts(axes, counts, shares)
        bars = ((right, (0, 0.25, 0.5, 0.75, 1), "right"), (wrong, (0, 0.1, 0.25, 0.5), "mistakes"))
        for mesh, ticks, name in bars:
            bar = figure.colorbar(
                mesh,
                ax=axes,
                location="bottom",
                fraction=0.05,
                aspect=30,
                shrink=min(0.8, 2.5 / (cell * classes) + 0.1),
            )
            bar.set_ticks(ticks, labels=[f"{tick:.0%}" for tick in ticks])
            bar.ax.tick_params(length=0)
            bar.outline.set_visible(False)
            bar.set_label(f"{name}, of the true class")
    return figure


def _confused_bars(confusion: Confusion, class_names: Sequence[str]) -> Figure:
    """Draw the most frequent confusions as bars, most frequent first."""
    pairs = list(islice(confusion.mistakes(), MOST_PAIRS))
    shown = sorted({place for true, predicted, _ in pairs for place in (true, predicted)})
    labels = dict(zip(shown, class_labels(class_names, shown), strict=True))
    places = np.arange(len(pairs))
    with style():
        figure = new_figure(7.5, 1.3 + 0.22 * max(1, len(pairs)))
        axes = figure.subplots()
        axes.barh(places, [count for _, _, count in pairs], 0.66, color=PALE)
        axes.set_yticks(places, [f"{labels[true]} → {labels[guess]}" for true, guess, _ in pairs], fontsize=7)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.set(title="Most confused pairs: true → predicted", xlabel="images")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
    return figure


def reliability_diagram(calibration: Reliability) -> Figure:
    """Draw accuracy against confidence (Guo et al. 2017) above the number of images per bin."""
    held = [one for one in calibration.bins if one.accuracy is not None and one.confidence is not None]
    middles = np.array([(one.low + one.high) / 2 for one in held])
    accuracy = np.array([one.accuracy for one in held], dtype=float)
    confidence = np.array([one.confidence for one in held], dtype=float)
    width = 0.94 / len(calibration.bins)
    with style():
        figure = new_figure(4.6, 5.0)
        top, bottom = figure.subplots(2, 1, height_ratios=[4, 1.1], sharex=True)
        top.bar(middles, accuracy, width, color=PALE, label="accuracy")
        gaps = {"facecolor": (*mpl.colors.to_rgb(ORANGE), 0.18), "edgecolor": ORANGE, "hatch": "////"}
        top.bar(
            middles,
            confidence - accuracy,
            width,
            bottom=accuracy,
            linewidth=0.6,
            label="gap to confidence",
            **gaps,
        )
        top.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
        top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        top.set_title(f"Calibration error {calibration.error:.1%}")
        top.yaxis.set_major_formatter(PERCENT)
        bottom.bar(middles, [one.count for one in held], width, color=MUTED)
        bottom.set(xlabel="confidence (probability of the predicted class)", ylabel="pictures")
        bottom.xaxis.set_major_formatter(PERCENT)
        bottom.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
        for axes in (top, bottom):
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
        # Outside: bars may reach any place of the plot.
        figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure


def per_class_bars(evaluation: Evaluation) -> Figure:
    """Draw F1 of the `MOST_BARS` weakest classes, worst first, with precision, recall and number of images."""
    weakest = sorted(range(len(evaluation.classes)), key=lambda place: evaluation.classes[place].f1)[:MOST_BARS]
    rows = [evaluation.classes[place] for place in weakest]
    labels = class_labels(evaluation.class_names, weakest)
    places = np.arange(len(rows))
    step = float(np.interp(len(rows), [2, 20, 100], [0.32, 0.27, 0.18]))
    size = float(np.interp(len(rows), [20, 100], [8.5, 7]))
    with style():
        figure = new_figure(7.5, 1.3 + step * len(rows))
        axes = figure.subplots()
        axes.barh(places, [row.f1 for row in rows], 0.66, color=PALE, label="F1")
        # Where both fall on one place the diamond is inside the ring.
        ring: dict[str, Any] = {
            "markersize": 7,
            "markerfacecolor": "none",
            "markeredgecolor": BLUE,
            "markeredgewidth": 1.4,
        }
        axes.plot([row.precision for row in rows], places, "o", label="precision", clip_on=False, **ring)
        axes.plot(
            [row.recall for row in rows], places, "D", markersize=3.6, color=ORANGE, label="recall", clip_on=False
        )
        named = [f"{label}  ({row.support})" for label, row in zip(labels, rows, strict=True)]
        axes.set_yticks(places, named, fontsize=size)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="score; in brackets the number of pictures")
        axes.xaxis.set_major_formatter(PERCENT)
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def sample_batch(
    before: Sequence[NDArray[np.uint8]], after: Sequence[NDArray[np.uint8]], titles: Sequence[str] | None = None
) -> Figure:
    """Show what augmentation does: each picture as loaded and, below it, as the network sees it.

    Args:
        before: RGB pictures of shape (H, W, 3).
        after: The same pictures after augmentation.
        titles: One per picture, shortened to fit.

    Raises:
        DataError: There is no picture, or the three differ in number.
    """
    if len(before) != len(after):
        raise DataError(f"{len(before)} pictures before augmentation and {len(after)} after do not pair")
    shown = _checked_titles(before, titles)
    columns = min(8, len(before))
    bands = ceil(len(before) / columns)
    with style():
        figure = new_figure(1.5 * columns + 0.4, 3.3 * bands)
        grid = figure.subplots(2 * bands, columns, squeeze=False)
        for axes in grid.ravel():
            axes.axis("off")
        for index, (first, second) in enumerate(zip(before, after, strict=True)):
            band, column = divmod(index, columns)
            _show(grid[2 * band, column], first, shown[index])
            _show(grid[2 * band + 1, column], second, "")
        for row, word in enumerate(["before", "after"] * bands):
            axes = grid[row, 0]
            where: dict[str, Any] = {"ha": "right", "va": "center", "transform": axes.transAxes}
            axes.text(-0.06, 0.5, word, rotation=90, color=MUTED, **where)
    return figure


def _curve(axes: Axes, epochs: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    # A run of few epochs, one above all, needs points: a line of one point cannot be seen.
    axes.plot(epochs, values, color=colour, label=label, marker="o" if len(epochs) <= 15 else None, markersize=3.5)


def _from_zero(axes: Axes, *columns: NDArray[Any]) -> None:
    values = np.concatenate(columns)
    finite = values[np.isfinite(values)]
    axes.set_ylim(0, 1.06 * finite.max() if finite.size and finite.max() > 0 else 1)


def _mark_best(axes: Axes, columns: Mapping[str, NDArray[Any]], kind: str, saved: Sequence[int]) -> None:
    if np.isfinite(columns["valid_loss"]).any():
        best = saved[-1] if saved else int(np.nanargmin(columns["valid_loss"]))
        label = "saved weights" if saved else "lowest loss"
        point = (columns["epoch"][best], columns[f"valid_{kind}"][best])
        axes.axvline(point[0], color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0)
        axes.plot(*point, "o", markersize=7, markerfacecolor="white", markeredgecolor=ORANGE, label=label)


def _print_counts(axes: Axes, counts: NDArray[Any], shares: NDArray[Any]) -> None:
    """Print the number of every mistake, and of right predictions where there is room."""
    size = float(np.interp(len(counts), [20, 40, 60], [8, 6.5, 5.5]))
    for (row, column), count in np.ndenumerate(counts):
        if count and (row != column or len(counts) <= 20):
            dark = shares[row, column] > (0.45 if row == column else 0.25)
            axes.text(
                column + 0.5,
                row + 0.5,
                str(count),
                ha="center",
                va="center",
                color="white" if dark else INK,
                size=size,
            )


def _show(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture, interpolation="antialiased")
    axes.set_anchor("N")  # the titles of a row stand on one line, whatever the heights
    axes.set_title(title, fontsize=7.5, fontweight="normal", loc="center", pad=3)


def _checked_titles(pictures: Sequence[object], titles: Sequence[str] | None) -> list[str]:
    if not pictures:
        raise DataError("no picture to show")
    if titles is not None and len(titles) != len(pictures):
        raise DataError(f"{len(titles)} titles do not fit {len(pictures)} pictures")
    given = titles or [""] * len(pictures)
    return ["\n".join(drawable(line, 24) for line in title.splitlines()) for title in given]
