"""Pictures for the page: thumbnails, previews and heat maps, as JPEG."""

from __future__ import annotations

from pathlib import Path

from landmarks.imaging.limits import ImageLimits
from landmarks.imaging.preprocessing import prepare
from landmarks.imaging.thumbnails import as_jpeg, load_small
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.heatmap import occlusion_heatmap, overlaid

THUMBNAIL = 256
"""Longest side of a thumbnail in pixels. Chromium keeps the last thousand decoded images: 190 MiB at this size."""

HEATMAP = 1024
"""Longest side of a heat map in pixels; it has no more detail than that."""

PREVIEW = 2048
"""Longest side of a preview in pixels."""


def make_picture(photo: Path, side: int, limits: ImageLimits) -> bytes:
    """Return a photo as a JPEG whose longest side is `side` at most.

    Raises:
        ImageError: The photo is unreadable.
    """
    return as_jpeg(load_small(photo, side, limits), 78 if side <= THUMBNAIL else 86)


def make_heatmap(photo: Path, recognizer: Recognizer, class_name: str) -> bytes:
    """Return a photo with the parts coloured that the answer for a class depends on, as a JPEG.

    Raises:
        ImageError: The photo is unreadable.
    """
    preprocessing, limits = recognizer.info.preprocessing, recognizer.limits
    heatmap = occlusion_heatmap(recognizer, prepare(photo, preprocessing, limits), class_name)
    return as_jpeg(overlaid(load_small(photo, HEATMAP, limits), heatmap, preprocessing), 86)
