"""Plots that are not drawn, for tests of what a run writes; the unit tests of plots and reports draw them."""

from __future__ import annotations

import io

import pytest
from matplotlib.figure import Figure
from PIL import Image


def blank_plots(patch: pytest.MonkeyPatch) -> None:
    """Let each plot be a white image of its size."""
    for module in ("plots", "page"):
        patch.setattr(f"landmarks.training.reports.{module}.png_bytes", _blank)


def _blank(figure: Figure) -> bytes:
    content = io.BytesIO()
    Image.new("1", (round(figure.bbox.width), round(figure.bbox.height)), 1).save(content, "png")
    return content.getvalue()
