"""Shared parts of the HTML reports: one style, embedded images, no scripts, no external resources.

`page.html.jinja` has the style, `macros.html.jinja` the tables and images; a page extends the former and imports
the latter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from landmarks.files.atomic import write_text
from landmarks.imaging.thumbnails import as_jpeg, data_uri
from landmarks.training.reports.plots import DPI, png_bytes

MOST_ROWS = 300
"""Up to so many rows a table has all of them, above it the `WORST_ROWS` first and the `BEST_ROWS` last."""

WORST_ROWS, BEST_ROWS = 150, 50

Item = TypeVar("Item")


@dataclass(frozen=True)
class Drawing:
    """A figure for a page: its content as a data URI, its size on the page in pixels, and its alt text."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Thumbnail:
    """A small embedded image: its data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Fill a template of this package and write the page, atomically.

    Args:
        path: The file to write.
        template: Name of the template; it extends `page.html.jinja`.
        values: Variables of the template, `title` among them.

    Raises:
        StorageError: The file cannot be written.
    """
    engine = Environment(
        loader=PackageLoader("landmarks.training.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["percent"] = percent
    write_text(path, engine.get_template(template).render(values))


def drawing(figure: Figure | bytes, alt: str) -> Drawing:
    """Return a figure, or its PNG, as an image of a page; `alt` describes it to those who cannot see it."""
    content = figure if isinstance(figure, bytes) else png_bytes(figure)
    # From the header of the PNG. At 100 pixels per inch, its letters are as large as the text of the page.
    width, height = (round(side * 100 / DPI) for side in struct.unpack(">II", content[16:24]))
    return Drawing(data_uri("png", content), width, height, alt)


def thumbnail(image: Image.Image) -> Thumbnail:
    """Encode a small image for a page."""
    return Thumbnail(data_uri("jpeg", as_jpeg(image, 82)), image.width, image.height)


def both_ends(rows: Sequence[Item]) -> list[Item]:
    """Return the rows of a table that a page lists, worst first: of very many only those at both ends."""
    return list(rows) if len(rows) <= MOST_ROWS else [*rows[:WORST_ROWS], *rows[-BEST_ROWS:]]


def flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each value of a nested mapping."""
    for key, value in values.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(item) for item in value) or "none"
        else:
            yield name, "none" if value is None else str(value)


def percent(share: float) -> str:
    """Format a fraction in [0, 1] as a percentage with one decimal."""
    return f"{share:.1%}"
