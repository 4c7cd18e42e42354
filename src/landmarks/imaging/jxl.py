"""JPEG XL, decoded by libjxl (the extra `jxl`); size and metadata are read here, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from landmarks.errors import ImageError, install_command
from landmarks.imaging.boxes import boxes

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class JxlImageFile(ImageFile.ImageFile):
    """A JPEG XL file as a Pillow image."""

    format = "JXL"
    format_description = "JPEG XL"

    def _open(self) -> None:
        self._content: bytes = self.fp.read()  # type: ignore[union-attr]
        parts = list(_boxes(self._content))
        names = {name for name, _ in parts}
        stream = self._content if self._content.startswith(_CODESTREAM) else _codestream(parts)
        self._size = _size(stream)
        self._mode = "RGB"
        # Pixels come upright from the decoder, except those of a JPEG inside.
        self._is_jpeg = b"jbrd" in names
        for name, content in parts:
            if name == b"Exif" and len(content) > 8:
                self.info["exif"] = content[4:]
            elif name == b"xml ":
                self.info["xmp"] = content
        self.tile = []

    def getexif(self) -> Image.Exif:
        """Return the metadata, with the orientation of the pixels that `load` gives."""
        exif = super().getexif()
        if not self._is_jpeg and ExifTags.Base.Orientation in exif:
            exif[ExifTags.Base.Orientation] = 1
        return exif

    def load(self) -> Any:
        """Decode all pixels."""
        if self._content:
            try:
                from pillow_jxl import Decoder  # noqa: PLC0415 - an extra
            except ImportError as error:
                raise ImageError(
                    None, f"this is a JPEG XL file: install its decoder, {install_command('jxl')}"
                ) from error
            is_jpeg, about, data, profile, _ = Decoder(num_threads=0)(self._content)
            image: Image.Image
            if is_jpeg:
                image = JpegImagePlugin.JpegImageFile(BytesIO(data))
                image.load()
                profile = image.info.get("icc_profile")
            else:
                image = Image.frombytes(about.mode, (about.width, about.height), data)
            if profile:
                self.info["icc_profile"] = bytes(profile)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._content = b""
        return super().load()


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each box of a container; none for a bare codestream."""
    file = BytesIO(content if content[4:8] == b"JXL " else b"")
    for name, size in boxes(file):
        yield name, file.read(size)


def _codestream(parts: list[tuple[bytes, bytes]]) -> bytes:
    for name, content in parts:
        if name == b"jxlc":
            return content
        if name == b"jxlp":
            return content[4:]
    raise SyntaxError("no codestream")


def _size(stream: bytes) -> tuple[int, int]:
    """Read width and height from the SizeHeader of a codestream (ISO/IEC 18181-1)."""
    bits, at = int.from_bytes(stream[2:16], "little"), 0

    def read(count: int) -> int:
        nonlocal at
        value = (bits >> at) & ((1 << count) - 1)
        at += count
        return value

    def side(small: int) -> int:
        return 8 * (read(5) + 1) if small else read((9, 13, 18, 30)[read(2)]) + 1

    if not stream.startswith(_CODESTREAM) or len(stream) < 12:
        raise SyntaxError("no JPEG XL")
    small = read(1)
    height = side(small)
    ratio = read(3)
    if ratio == 0:
        return side(small), height
    up, down = _RATIOS[ratio - 1]
    return height * up // down, height
