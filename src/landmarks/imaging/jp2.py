"""JPEG 2000 with its metadata, which Pillow skips, and the boxes that such files and JPEG XL consist of.

EXIF and XMP are in UUID boxes (ISO/IEC 15444-1, annex I; XMP Specification Part 3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

from PIL import Jpeg2KImagePlugin

_NAMES = {b"JpgTiffExif->JP2": "exif", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp"}
_MAX_BOXES = 1000


class Jp2ImageFile(Jpeg2KImagePlugin.Jpeg2KImageFile):
    """A JPEG 2000 file as a Pillow image."""

    def _open(self) -> None:
        super()._open()
        file = self.fp
        if file is None or self.codec != "jp2":
            return
        place = file.tell()
        for name, size in boxes(file):
            if name == b"uuid" and (kind := _NAMES.get(file.read(16))) is not None:
                self.info[kind] = file.read(size - 16)
        file.seek(place)


def boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box and the length of its content in bytes; the file is at the content meanwhile."""
    at, last = 0, file.seek(0, os.SEEK_END)
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size, skipped = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, skipped = int.from_bytes(file.read(8), "big"), 16
        end = last if size == 0 else min(last, at + max(size, skipped))
        yield head[4:], max(0, end - at - skipped)
        at = end
