"""Maps for other programs: GPX 1.1 for GPS devices and trip planners, KML 2.2 for globes."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path

from landmarks.errors import counted
from landmarks.library.maps.spots import Spot, in_order

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def gpx(spots: Sequence[Spot], title: str) -> str:
    """Return a GPX document: a waypoint for each photo and landmark, and a track of the camera in order of time.

    GPX knows only UTC, so a time is given only if the camera recorded its time zone.

    Args:
        spots: The photos.
        title: Title of the document.
    """
    ordered = in_order(spots)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<gpx version="1.1" creator="landmarks" xmlns="http://www.topografix.com/GPX/1/1">',
        f"<metadata><name>{_text(title)}</name></metadata>",
    ]
    for spot in ordered:
        what = "photo" if spot.source == "camera" else f"{spot.source} of a photo"
        lines.append(
            f"<wpt {_attributes(spot.position)}>{_gpx_time(spot)}<name>{_text(spot.name)}</name>"
            f"<desc>{_text(spot.photo.name)}</desc><type>{what}</type></wpt>"
        )
    track = in_order(spot for spot in spots if spot.source == "camera" and spot.taken is not None)
    if track:
        lines.append(f"<trk><name>{_text(title)}</name><trkseg>")
        lines += [f"<trkpt {_attributes(spot.position)}>{_gpx_time(spot)}</trkpt>" for spot in track]
        lines.append("</trkseg></trk>")
    return "\n".join([*lines, "</gpx>", ""])


def kml(spots: Sequence[Spot], title: str) -> str:
    """Return a KML document: a folder of photos and one of the landmarks in them.

    Args:
        spots: The photos.
        title: Title of the document.
    """
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>',
            f"<name>{_text(title)}</name>",
            "<Folder><name>Photos</name>",
            *(_photo_mark(spot) for spot in in_order(spots)),
            "</Folder>",
            "<Folder><name>Landmarks</name>",
            *_landmark_marks(spots),
            "</Folder>",
            "</Document></kml>",
            "",
        ]
    )


FORMATS: dict[str, Callable[[Sequence[Spot], str], str]] = {".gpx": gpx, ".kml": kml}
"""The writer of each suffix."""


def _photo_mark(spot: Spot) -> str:
    time = "" if spot.taken is None else f"<TimeStamp><when>{spot.taken.isoformat()}</when></TimeStamp>"
    tags = ", ".join(f"probably {tag.name}" if tag.source == "estimated" else tag.name for tag in spot.tags)
    said = f"{spot.photo.name}{f': {tags}' if tags else ''}"
    if spot.source != "camera":
        said += f" (position of the {spot.source})"
    return _mark(spot.name, said, spot.position, time)


def _landmark_marks(spots: Sequence[Spot]) -> Iterator[str]:
    found: dict[tuple[str, tuple[float, float]], list[Path]] = {}
    for spot in spots:
        for tag in spot.landmarks:
            if tag.place is not None and tag.place.coordinates is not None:
                found.setdefault((tag.name, tag.place.coordinates), []).append(spot.photo)
    for (name, position), photos in found.items():
        yield _mark(name, counted(len(photos), "photo"), position)


def _mark(name: str, description: str, position: tuple[float, float], time: str = "") -> str:
    latitude, longitude = position
    return (
        f"<Placemark><name>{_text(name)}</name><description>{_text(description)}</description>{time}"
        f"<Point><coordinates>{longitude:.6f},{latitude:.6f}</coordinates></Point></Placemark>"
    )


def _attributes(position: tuple[float, float]) -> str:
    longitude = (round(position[1], 6) + 180) % 360 - 180  # in GPX 180 degrees are west
    return f'lat="{position[0]:.6f}" lon="{longitude:.6f}"'


def _gpx_time(spot: Spot) -> str:
    if spot.taken is None or spot.taken.tzinfo is None:
        return ""
    return f"<time>{spot.taken.astimezone(UTC).replace(tzinfo=None).isoformat()}Z</time>"


def _text(text: str) -> str:
    """Escape a text; undecodable bytes of file names, which XML cannot hold, are shown as question marks."""
    return html.escape(_NOT_XML.sub("?", text), quote=False)
