"""Plots of an evaluation: true against false tags, and risk against coverage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landmarks.training.evaluation.photos import Role
from landmarks.training.evaluation.summary import Summary
from landmarks.training.reports.style import BLUE, MUTED, ORANGE, PERCENT, new_figure, style

LABELS: dict[Role, str] = {"negative": "photos without a landmark", "unknown": "unknown landmarks"}
_COLOURS: dict[Role, str] = {"negative": BLUE, "unknown": ORANGE}


def threshold_curves(summary: Summary) -> Figure | None:
    """Draw both curves side by side, or only the second if every photo should get a tag.

    Returns:
        The figure, or None if no photo shows a landmark that the model knows.
    """
    curve = summary.curve
    if curve is None:
        return None
    with style():
        panels = 2 if curve.false else 1
        figure = new_figure(4.75 * panels, 3.6)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        if curve.false:
            _draw_false_tags(axes[0], summary)
        _draw_risk(axes[-1], summary)
        for one in axes:
            one.xaxis.set_major_formatter(PERCENT)
            one.yaxis.set_major_formatter(PERCENT)
            one.grid(visible=True)
            one.set_axisbelow(True)
    return figure


def _draw_false_tags(axes: Axes, summary: Summary) -> None:
    curve = summary.curve
    if curve is None:
        return
    for role, shares in curve.false.items():
        axes.plot(np.append(0.0, shares), np.append(0.0, curve.rightly), color=_COLOURS[role], label=LABELS[role])
        total, known = summary.totals[role], summary.totals["known"]
        if total.wrongly is not None and known.rightly is not None:
            axes.plot(
                total.wrongly.value,
                known.rightly.value,
                "o",
                markersize=8,
                markerfacecolor="white",
                markeredgecolor=_COLOURS[role],
                zorder=5,
            )
    widest = max(float(shares.max()) for shares in curve.false.values())
    axes.set(xlim=(0, min(1.0, max(widest * 1.03, 0.05))), ylim=(0, 1.02))
    axes.set(title="True against false tags", xlabel="false tags", ylabel="tagged rightly")
    axes.legend(loc="lower right")


def _draw_risk(axes: Axes, summary: Summary) -> None:
    coverage, risk = np.array(summary.risk).T
    axes.plot(coverage, risk, color=MUTED, marker="o" if len(risk) <= 15 else None, markersize=3.5)
    axes.set(xlim=(0, 1.02), ylim=(0, max(float(risk.max()) * 1.06, 0.02)))
    axes.set(
        title=f"Risk, AURC {summary.aurc:.4f}", xlabel="share of the photos answered", ylabel="answered wrongly"
    )
