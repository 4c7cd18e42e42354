"""What every self-contained page shares: one look, pictures inside the file, names that cannot break it.

A page runs no script and asks for nothing outside itself, so it can be mailed and read years later.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from PIL import Image

from landmarks.files import write_text
from landmarks.images import load_rgb


@dataclass(frozen=True)
class Thumbnail:
    """A small picture inside a page: its data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Fill a template of this package and write the page, whole or not at all.

    Args:
        path: The file to write.
        template: Name of the template; it extends `page.html.jinja`.
        values: What the template asks for; everything is escaped.

    Raises:
        StorageError: The file cannot be written.
    """
    engine = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["percent"] = percent
    page = engine.get_template(template).render(values)
    # A file name of bytes that are no UTF-8 is spelt out.
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def small_picture(path: Path, side: int) -> Image.Image:
    """Read a picture and shrink its longer side to at most `side` pixels; raises `ImageError`."""
    image = Image.fromarray(load_rgb(path, min_side=side))
    image.thumbnail((side, side))
    return image


def thumbnail(image: Image.Image) -> Thumbnail:
    """Put a small picture into a page."""
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=82)
    return Thumbnail(data_uri("jpeg", content.getvalue()), image.width, image.height)


def data_uri(kind: str, content: bytes) -> str:
    """Return an image file of a kind, such as `png`, as a URI that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def percent(share: float) -> str:
    """Return a share as text, such as `12.3%`."""
    return f"{share:.1%}"


def _template(name: str) -> str:
    return files("landmarks.training").joinpath(name).read_text(encoding="utf-8")
