"""Reads the metadata of a photo and its sidecars: position, time and name of the camera, and embedded keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import ExifTags, ImageFile, IptcImagePlugin

from landmarks.imaging.decoding import photo_header, upright_size
from landmarks.metadata import gps
from landmarks.metadata.entries import Entries
from landmarks.metadata.packet import PacketError
from landmarks.metadata.sidecars import read_sidecar, sidecars_of
from landmarks.metadata.xmp import XmpPacket

# EXIF separates the parts of a date by colons, XMP by hyphens; some programs write one in the other.
_TIME = re.compile(
    r"(\d{4})[:-](\d\d?)[:-](\d\d?)[T ](\d\d?):(\d\d?)(?::(\d\d?)(?:\.\d*)?)?\s*(Z|[-+].*)?", re.ASCII
)
_IPTC = {"iptc_keywords": 25, "city": 90, "sublocation": 92, "region": 95, "country": 101}
_GIF_PACKET, _GIF_END = b"\x21\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"


@dataclass(frozen=True)
class Facts:
    """What a photo tells about the moment it was taken; what is unknown is None or empty.

    Attributes:
        taken: When, by the camera's clock, with its time zone if that was recorded.
        position: Latitude and longitude of the camera in degrees, as from `read_position`.
        camera: Maker and model of the camera.
        serial: Serial number of the camera.
        satellite_time: Universal time of the GPS receiver.
        size: Width and height of the upright photo in pixels.
    """

    taken: datetime | None = None
    position: tuple[float, float] | None = None
    camera: str = ""
    serial: str = ""
    satellite_time: datetime | None = None
    size: tuple[int, int] | None = None

    @property
    def device(self) -> str:
        """What tells the camera from others, of the same model too; empty if unknown."""
        return f"{self.camera} {self.serial}".strip()


def read_facts(photo: Path) -> Facts:
    """Read what a photo and its sidecars tell about the moment it was taken; the photo is opened once.

    Sidecars come first, as they contain the user's corrections; then EXIF, then the embedded XMP.
    """
    packets = _sidecar_packets(photo)
    position = _position_of(packets)
    with photo_header(photo) as image:
        if image is None:
            return Facts(_xmp_time(packets), position)
        return Facts(
            _time_in(image, packets),
            position or _position_in(image),
            *_exif_camera(image),
            _satellite_time(image),
            upright_size(image),
        )


def read_position(photo: Path, content: bytes | None = None) -> tuple[float, float] | None:
    """Return the camera's position, latitude and longitude in decimal degrees, or None when unknown.

    Sidecars come first, as they contain the user's corrections; then EXIF, then the embedded XMP. A position that
    we wrote ourselves is the landmark's and does not count, nor does the 0, 0 of a receiver without signal.

    Args:
        photo: The photo.
        content: Content of the photo, if it was already read; else the file is opened.
    """
    return _position_of(_sidecar_packets(photo)) or embedded_position(photo if content is None else content)


def embedded_position(photo: Path | bytes) -> tuple[float, float] | None:
    """Return the camera's position in the photo itself, given as a file or its content; see `read_position`."""
    with photo_header(photo) as image:
        return None if image is None else _position_in(image)


def _sidecar_packets(photo: Path) -> list[XmpPacket]:
    return [packet for path in sidecars_of(photo) if (packet := read_sidecar(path)) is not None]


def _position_of(packets: Iterable[XmpPacket]) -> tuple[float, float] | None:
    return next((where for one in packets if (where := one.position()) is not None), None)


def _position_in(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    position = _exif_position(image)
    if position is not None:
        return position
    packet = _embedded_packet(image)
    return None if packet is None else packet.position()


def _time_in(image: ImageFile.ImageFile, sidecars: Sequence[XmpPacket]) -> datetime | None:
    original, changed = _exif_times(image)
    taken = _xmp_time(sidecars) or original
    if taken is None:
        embedded = _embedded_packet(image)
        return (None if embedded is None else _xmp_time([embedded])) or changed
    # Programs that copy the time into a sidecar may leave out its zone.
    return taken if taken.tzinfo or original is None else taken.replace(tzinfo=original.tzinfo)


def _xmp_time(packets: Iterable[XmpPacket]) -> datetime | None:
    texts = (text for packet in packets for text in packet.times())
    return next((time for text in texts if (time := _moment(text, None)) is not None), None)


def _exif_times(image: ImageFile.ImageFile) -> tuple[datetime | None, datetime | None]:
    """Return when a photo was taken, and when its file was changed."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        said = inner.get(ExifTags.Base.DateTimeOriginal), exif.get(ExifTags.Base.DateTime)
        zone = inner.get(ExifTags.Base.OffsetTimeOriginal)
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return None, None
    return _moment(said[0], zone), _moment(said[1], zone)


def _moment(said: object, zone: object) -> datetime | None:
    """Return a time of EXIF or XMP, with its zone if that is one; None if unknown or none of universal time."""
    match = _TIME.fullmatch(str(said).strip("\0 "))
    if match is None:
        return None
    *parts, own_zone = match.groups(default="")
    try:
        taken = datetime(*(int(part or 0) for part in parts))  # type: ignore[arg-type]
    except ValueError:
        return None
    try:
        # Unknown is written as blanks around the colon, and some programs write names.
        text = own_zone or str(zone or "").strip("\0 ")
        taken = taken.replace(tzinfo=datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo)
        taken.astimezone(UTC)
    except ValueError:
        return taken
    except OverflowError:  # the first or the last day of all
        return None
    return taken


def _exif_camera(image: ImageFile.ImageFile) -> tuple[str, str]:
    """Return maker and model, and the serial number."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        said = (
            exif.get(ExifTags.Base.Make),
            exif.get(ExifTags.Base.Model),
            inner.get(ExifTags.Base.BodySerialNumber),
        )
        maker, model, serial = (" ".join(str(one or "").replace("\0", " ").split()) for one in said)
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return "", ""
    repeated = maker and model.casefold().startswith(maker.casefold().split()[0])
    return model if repeated else f"{maker} {model}".strip(), serial


def _satellite_time(image: ImageFile.ImageFile) -> datetime | None:
    try:
        tags = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        day = datetime.strptime(str(tags[ExifTags.GPS.GPSDateStamp]).strip("\0 "), "%Y:%m:%d")
        hours, minutes, seconds = (float(part) for part in tags[ExifTags.GPS.GPSTimeStamp])
        return day.replace(tzinfo=UTC) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except Exception:  # noqa: BLE001 - most photos have none, and damaged EXIF raises nearly every type
        return None


def _exif_position(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    try:
        tags = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _exif_degrees(tags, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "latitude")
        longitude = _exif_degrees(tags, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "longitude")
        position = gps.plausible((latitude, longitude))
        method = tags.get(ExifTags.GPS.GPSProcessingMethod, b"")
        said = method if isinstance(method, str) else bytes(method).decode("latin-1")
        return None if position is None or gps.is_ours(said, position) else position
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return None


def _exif_degrees(tags: dict[int, Any], value: int, reference: int, axis: str) -> float | None:
    parts = tags.get(value)
    if parts is None:
        return None
    if isinstance(parts, bytes | str):  # some programs write text
        text = parts.decode("latin-1") if isinstance(parts, bytes) else parts
        return gps.parse_degrees(text.strip("\0 "), axis, str(tags.get(reference) or ""))
    return gps.exif_degrees(parts if isinstance(parts, tuple | list) else (parts,), tags.get(reference), axis)


def _embedded_packet(image: ImageFile.ImageFile) -> XmpPacket | None:
    try:
        raw = image.info.get("xmp") or _gif_packet(image)
        return XmpPacket(raw.rstrip(b"\0")) if isinstance(raw, bytes) else None
    except (PacketError, OSError):
        return None


def _gif_packet(image: ImageFile.ImageFile) -> bytes | None:
    """Return the packet of a GIF, which Pillow skips; None if there is none."""
    if image.format != "GIF" or image.fp is None:
        return None
    image.fp.seek(0)
    _, found, after = image.fp.read().partition(_GIF_PACKET)
    return after.partition(_GIF_END)[0] if found else None


def embedded_entries(photo: Path | bytes) -> tuple[Entries, tuple[str, ...]]:
    """Return the embedded entries of a photo, which a new sidecar would hide from programs that prefer sidecars.

    Returns:
        The entries, with city, country and location from IPTC where XMP has none, and the hierarchies in other
        programs' own lists (see `XmpPacket.other_paths`).
    """
    with photo_header(photo) as image:
        if image is None:
            return Entries(), ()
        packet = _embedded_packet(image)
        entries = packet.entries() if packet is not None else Entries()
        try:
            records = IptcImagePlugin.getiptcinfo(image) or {}
        except Exception:  # noqa: BLE001 - damaged IPTC raises nearly every type
            records = {}
    paths = packet.other_paths() if packet is not None else ()
    lists: dict[str, Any] = {name: getattr(entries, name) or _iptc_texts(records, n) for name, n in _IPTC.items()}
    return replace(entries, **lists), paths


def _iptc_texts(records: dict[tuple[int, int], Any], number: int) -> tuple[str, ...]:
    found = records.get((2, number), [])
    texts = (_iptc_text(raw).strip("\0 ") for raw in (found if isinstance(found, list) else [found]))
    return tuple(filter(None, texts))


def _iptc_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # old programs write it without declaring it
