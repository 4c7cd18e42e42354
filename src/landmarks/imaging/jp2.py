"""JPEG 2000 with its metadata, which Pillow skips.

EXIF and XMP are in UUID boxes (ISO/IEC 15444-1, annex I; XMP Specification Part 3).
"""

from __future__ import annotations

from PIL import Jpeg2KImagePlugin

from landmarks.imaging.boxes import boxes

_NAMES = {b"JpgTiffExif->JP2": "exif", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp"}


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
