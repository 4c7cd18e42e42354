"""A map as one web page that needs no network: outlines of the land, thumbnails and script are all in it."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from landmarks.errors import ImageError
from landmarks.geo.towns import largest_towns
from landmarks.imaging.limits import DEFAULT_LIMITS, ImageLimits
from landmarks.imaging.thumbnails import as_jpeg, data_uri, load_small
from landmarks.library.maps.spots import Spot, in_order
from landmarks.tagging.writers import describe_with_source

THUMBNAIL = 256
"""Longest side of a thumbnail in pixels: about 13 kB of the page for each photo."""

_QUALITY = 72


def web_page(
    spots: Sequence[Spot],
    title: str,
    folder: Path,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    on_error: Callable[[ImageError], None] = lambda _: None,
) -> Iterator[str]:
    """Yield the parts of the page.

    Args:
        spots: The photos.
        title: Title of the page.
        folder: Where the page will be; links to photos are relative to it.
        limits: Largest photo to accept.
        on_error: Called for each photo without a thumbnail.
    """
    static = resources.files("landmarks.library.maps")
    land = json.loads(resources.files("landmarks.geo").joinpath("land.json").read_text(encoding="utf-8"))
    template = static.joinpath("page.html").read_text(encoding="utf-8")
    for name in ("page.css", "slippy.css", "slippy.js", "page.js"):
        text = static.joinpath(name).read_text(encoding="utf-8")
        template = template.replace(
            f"{{{{{name}}}}}", text.replace("export ", "") if name == "slippy.js" else text
        )
    # The title is put in last, as it may look like a place in the template; undecodable bytes are shown as `?`.
    shown = html.escape(title.encode("utf-8", "replace").decode())
    before, after = (part.replace("{{title}}", shown) for part in template.split("{{data}}"))
    yield before
    yield from _data(spots, land, folder, limits, on_error)
    yield after


def _data(
    spots: Sequence[Spot],
    land: dict[str, Any],
    folder: Path,
    limits: ImageLimits,
    on_error: Callable[[ImageError], None],
) -> Iterator[str]:
    """Yield the JSON of the page, one photo at a time: thousands of thumbnails need not be in memory at once."""
    towns = largest_towns([spot.position for spot in spots])
    yield f'{{"land": {_json(land)}, "towns": {_json(towns)}, "photos": ['
    for number, spot in enumerate(in_order(spots)):
        row = {
            "name": spot.photo.name,
            "href": _link(spot.photo, folder),
            "title": spot.name,
            "tags": [describe_with_source(tag) for tag in spot.tags],
            "taken": "" if spot.taken is None else spot.taken.replace(tzinfo=None).isoformat(" ", "minutes"),
            "latitude": round(spot.position[0], 6),
            "longitude": round(spot.position[1], 6),
            "source": spot.source,
            "thumbnail": "",
        }
        try:
            row["thumbnail"] = thumbnail(spot.photo, limits)
        except ImageError as error:
            on_error(error)
        yield ("," if number else "") + "\n" + _json(row)
    yield "\n]}"


def thumbnail(photo: Path, limits: ImageLimits) -> str:
    """Return a thumbnail as a data address.

    Raises:
        ImageError: The photo is unreadable.
    """
    return data_uri("jpeg", as_jpeg(load_small(photo, THUMBNAIL, limits), _QUALITY))


def _link(photo: Path, folder: Path) -> str:
    """Return the address of a photo, relative to the page, so that both can be moved together."""
    try:
        path = os.path.relpath(photo, folder)
    except ValueError:  # on another drive
        return photo.absolute().as_uri()
    return quote(os.fsencode(path).replace(os.sep.encode(), b"/"))


def _json(value: object) -> str:
    # Inside a script element, `</script>` or `<!--` in a file name would end it.
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c")
