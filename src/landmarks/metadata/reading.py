"""What a photo and its sidecar say already: where the camera stood, and the keywords inside the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import ExifTags, ImageFile, IptcImagePlugin

from landmarks.imaging.decoding import photo_header
from landmarks.metadata.entries import Entries
from landmarks.metadata.exiftool import is_ours
from landmarks.metadata.xmp import PacketError, XmpPacket

MAX_SIDECAR_BYTES = 32 * 2**20
"""A larger sidecar is left alone."""


def read_position(photo: Path, content: bytes | None = None) -> tuple[float, float] | None:
    """Return where the camera stood, latitude and longitude in decimal degrees, or None when that is unknown.

    Args:
        photo: The photo.
        content: Of the photo, where it was read already; else the file is opened.

    The sidecar is asked first, as it holds what the user corrected; then EXIF, then the embedded XMP. A position
    that we wrote ourselves is the landmark's and does not count, nor does the 0, 0 of a receiver without signal.
    """
    for path in (photo.with_name(photo.name + ".xmp"), photo.with_suffix(".xmp")):
        packet = _packet(path)
        if packet is not None and (position := _plausible(packet.position())) is not None:
            return position
    return embedded_position(photo if content is None else content)


def embedded_position(photo: Path | bytes) -> tuple[float, float] | None:
    """Return where the camera stood as the photo itself says, from a file or its content; see `read_position`."""
    with photo_header(photo) as image:
        if image is None:
            return None
        position = _exif_position(image)
        if position is not None:
            return position
        packet = _embedded_packet(image)
    return None if packet is None else _plausible(packet.position())


def _packet(path: Path) -> XmpPacket | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        return XmpPacket(path.read_bytes())
    except (OSError, PacketError):
        return None


def _exif_position(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    try:
        gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _exif_degrees(gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLatitudeRef], "S")
        longitude = _exif_degrees(gps[ExifTags.GPS.GPSLongitude], gps[ExifTags.GPS.GPSLongitudeRef], "W")
        method = bytes(gps.get(ExifTags.GPS.GPSProcessingMethod, b"")).decode("latin-1")
        return None if is_ours(method, (latitude, longitude)) else _plausible((latitude, longitude))
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return None


def _exif_degrees(parts: Sequence[float], reference: str, negative: str) -> float:
    value: float = sum(float(part) / 60**power for power, part in enumerate(parts))
    return -value if reference.strip("\0 ").upper() == negative else value


def _plausible(position: tuple[float, float] | None) -> tuple[float, float] | None:
    if position is None or position == (0, 0) or not all(map(math.isfinite, position)):
        return None
    return position if abs(position[0]) <= 90 and abs(position[1]) <= 180 else None


def _embedded_packet(image: ImageFile.ImageFile) -> XmpPacket | None:
    raw = image.info.get("xmp")
    try:
        return XmpPacket(raw.rstrip(b"\0")) if isinstance(raw, bytes) else None
    except PacketError:
        return None


def embedded_entries(photo: Path) -> Entries:
    """Return the keywords inside a photo, which a new sidecar would hide from programs that read it first."""
    with photo_header(photo) as image:
        if image is None:
            return Entries()
        packet = _embedded_packet(image)
        entries = packet.entries() if packet is not None else Entries()
        try:
            records = IptcImagePlugin.getiptcinfo(image) or {}
        except Exception:  # noqa: BLE001 - damaged IPTC raises nearly every type
            records = {}
    keywords = records.get((2, 25), [])
    texts = [_iptc_text(raw) for raw in (keywords if isinstance(keywords, list) else [keywords])]
    return replace(entries, iptc_keywords=tuple(filter(None, texts)))


def _iptc_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # what old programs write without saying so
