"""Turns tags into XMP sidecars for download: one packet, or a ZIP of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from landmarks.metadata.xmp import XmpPacket
from landmarks.serving.schemas import XmpPhoto
from landmarks.tagging.keywords import entries_for

XMP_TYPE = "application/rdf+xml"
ZIP_TYPE = "application/zip"

_NAME_BYTES = 255  # of most file systems
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same tags give the same bytes


def packet_of(photo: XmpPhoto) -> bytes:
    """Return the XMP packet that `landmarks tag --write` would write to a new sidecar."""
    packet = XmpPacket()
    packet.add(entries_for(tag.to_tag() for tag in photo.tags))
    return packet.to_bytes()


def archive_of(photos: Sequence[XmpPhoto]) -> bytes:
    """Return a ZIP with one sidecar per photo; repeated names get a number."""
    content = io.BytesIO()
    taken: set[str] = set()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for photo in photos:
            name = _free_name(_plain_name(photo.file), taken)
            taken.add(name.casefold())
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, packet_of(photo))
    return content.getvalue()


def _plain_name(name: str) -> str:
    """Return a file name without folders and without characters that some systems forbid."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c if c.isprintable() and c not in '<>:"|?*' else "_" for c in last).strip(". ")
    return plain.encode("utf-8", "replace").decode() or "photo"


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name of a sidecar that is not taken."""
    number, free = 1, _with_ending(name, ".xmp")
    while free.casefold() in taken:
        number += 1
        free = _with_ending(name, f" ({number}).xmp")
    return free


def _with_ending(name: str, ending: str) -> str:
    """Return a name with an ending, cut to the bytes that a file system takes."""
    return name.encode()[: _NAME_BYTES - len(ending)].decode(errors="ignore") + ending
