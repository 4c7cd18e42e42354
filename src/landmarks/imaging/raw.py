"""RAW files: shown by the largest JPEG preview that the camera stored in them, upright by the RAW's orientation.

Every camera stores such a preview, in places that differ by maker and model. It is found here by its content: each
JPEG in the file outside the sensor's data is a candidate, the largest is decoded, and a mere thumbnail is never
taken. A file without a preview is developed by LibRaw (the extra `raw`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from landmarks.errors import ImageError, install_command

MIN_PREVIEW_SIDE = 200
"""Short side, in pixels, below which an embedded JPEG is a thumbnail, too small to recognise anything."""

_SENSOR_DATA = frozenset({32803, 34892})  # PhotometricInterpretation: CFA, LinearRaw
_SENSOR_CODECS = frozenset({32767, 32769, 32770, 34713, 34892, 52546, 65000, 65535})  # Compression: makers' own
_DNG_VERSION, _SUB_IFDS, _XMP = 50706, 330, 700
_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUBFILE = 256, 257, 259, 262, 254
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_MAX_IFDS, _MAX_ENTRIES, _MAX_VALUES = 32, 1000, 100_000
_MAX_CANDIDATES, _MAX_SEGMENTS = 200, 300
_TIFF_MAGIC = {b"II": b"II*\0", b"MM": b"MM\0*"}
_CR3_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_CR3_HEAD = 2**20  # bytes in which the metadata of a CR3 is


@dataclass(frozen=True)
class _Directory:
    """One directory of a TIFF: the whole numbers of each tag."""

    values: dict[int, tuple[int, ...]]

    def first(self, tag: int) -> int:
        return next(iter(self.values.get(tag, ())), 0)

    @property
    def is_sensor_data(self) -> bool:
        return self.first(_PHOTOMETRIC) in _SENSOR_DATA or self.first(_COMPRESSION) in _SENSOR_CODECS

    @property
    def data(self) -> list[tuple[int, int]]:
        """Start and end of its strips and tiles in the file."""
        ranges: list[tuple[int, int]] = []
        for starts, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
            pairs = zip(self.values.get(starts, ()), self.values.get(sizes, ()), strict=False)
            ranges += [(start, start + size) for start, size in pairs]
        return ranges


def is_raw_tiff(file: BinaryIO) -> bool:
    """Return whether a TIFF is a camera's RAW file, such as DNG, NEF or ARW; the position of the file is kept."""
    at = file.tell()
    try:
        found = list(_directories(file))
    finally:
        file.seek(at)
    if not found:
        return False
    first = found[0]
    reduced = bool(first.first(_SUBFILE) & 1) and len(found) > 1  # the full picture is elsewhere
    return reduced or _DNG_VERSION in first.values or any(one.is_sensor_data for one in found)


class RawImageFile(ImageFile.ImageFile):
    """A RAW file as a Pillow image: the pixels of its preview, the metadata of the RAW."""

    format = "RAW"
    format_description = "Camera RAW"

    def _open(self) -> None:
        content: bytes = self.fp.read()  # type: ignore[union-attr]
        directories = list(_directories(BytesIO(content)))
        self._content = content
        self._is_whole = _has_sensor_data(content, directories)
        self._previews = _previews(content, directories)
        self._inner: JpegImagePlugin.JpegImageFile | None = None
        self._next_preview()
        self._size = self._inner.size if self._inner is not None else _largest(directories)
        self._mode = "RGB"
        self._metadata = _metadata(content)
        packet = self._metadata.get(_XMP) if self._metadata else _cr3_packet(content)
        if isinstance(packet, bytes):
            self.info["xmp"] = packet
        if self._inner is not None and "icc_profile" in self._inner.info:
            self.info["icc_profile"] = self._inner.info["icc_profile"]
        self.tile = []

    def getexif(self) -> Image.Exif:
        """Return the metadata of the RAW, or of its preview if the RAW has none that can be read."""
        if self._metadata is None:
            self._metadata = self._inner.getexif() if self._inner is not None else Image.Exif()
        return self._metadata

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> Any:
        """Ask the preview's decoder for a reduced size."""
        if self._inner is None:
            return None
        done = self._inner.draft(mode, size)
        self._size = self._inner.size
        self.info["progressive"] = self._inner.info.get("progressive", 0)
        return done

    def load(self) -> Any:
        """Decode the preview; one that is damaged gives way to the next."""
        asked = self._size
        while self._inner is not None:
            try:
                self._inner.load()
            except Exception:  # noqa: BLE001 - decoders raise nearly every type, depending on the damage
                self._next_preview()
                if self._inner is not None:
                    self._inner.draft(None, asked)
            else:
                self.getexif()  # may be that of the preview
                self._take(self._inner)
                break
        else:
            if self._content:
                self._take(self._developed())
        return super().load()

    def _take(self, image: Image.Image) -> None:
        image = image if image.mode in {"RGB", "L"} else image.convert("RGB")
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self._content, self._previews, self._inner = b"", [], None

    def _next_preview(self) -> None:
        self._inner = None
        while self._previews and self._inner is None:
            with suppress(Exception):  # as above
                self._inner = JpegImagePlugin.JpegImageFile(BytesIO(self._content[self._previews.pop(0) :]))

    def _developed(self) -> Image.Image:
        if not self._is_whole:
            raise ImageError(
                None,
                "the RAW file has no preview but a thumbnail, and its sensor data is cut short or of a rare kind: "
                "copy it again from its source",
            )
        try:
            import rawpy  # noqa: PLC0415 - an extra, and for the few files without a preview
        except ImportError as error:
            raise ImageError(
                None,
                f"the RAW file has no preview but a thumbnail: install LibRaw, {install_command('raw')}",
            ) from error
        with rawpy.imread(BytesIO(self._content)) as raw:
            pixels = raw.postprocess(half_size=True, use_camera_wb=True)
        self.getexif()[ExifTags.Base.Orientation] = 1  # LibRaw has turned it
        return Image.fromarray(pixels)


def _previews(content: bytes, directories: list[_Directory]) -> list[int]:
    """Return where the JPEGs that may serve as a preview begin, the largest first."""
    sensor = sorted(span for one in directories if one.is_sensor_data for span in one.data)
    found: list[tuple[int, int]] = []
    at = content.find(b"\xff\xd8\xff")
    while at >= 0 and len(found) < _MAX_CANDIDATES:
        inside = next((end for start, end in sensor if start <= at < end), None)
        if inside is not None:
            at = content.find(b"\xff\xd8\xff", max(inside, at + 1))
            continue
        size = _jpeg_size(content, at)
        if size is not None and min(size) >= MIN_PREVIEW_SIDE:
            found.append((size[0] * size[1], at))
        at = content.find(b"\xff\xd8\xff", at + 3)
    return [at for _, at in sorted(found, key=lambda each: (-each[0], each[1]))]


def _jpeg_size(content: bytes, at: int) -> tuple[int, int] | None:
    """Return width and height of a JPEG of 8 bits per channel; None for lossless JPEG, which is sensor data."""
    at += 2
    for _ in range(_MAX_SEGMENTS):
        head = content[at : at + 9]
        if len(head) < 9 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in {0xC0, 0xC1, 0xC2}:
            bits, height, width = struct.unpack(">BHH", head[4:9])
            return (width, height) if bits == 8 and width and height else None
        if 0xC3 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            return None
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA:
            return None
        at += 2 + int.from_bytes(head[2:4], "big")
    return None


def _directories(file: BinaryIO) -> Iterator[_Directory]:
    """Yield the directories of a TIFF, or of a RAW format derived from it, without those that make no sense."""
    file.seek(0)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return
    waiting: list[int] = [struct.unpack(f"{order}I", head[4:])[0]]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_IFDS:
        at = waiting.pop(0)
        if at in seen or at < 8:
            continue
        seen.add(at)
        file.seek(at)
        count = file.read(2)
        entries = struct.unpack(f"{order}H", count)[0] if len(count) == 2 else 0
        table = file.read(12 * entries + 4) if 0 < entries <= _MAX_ENTRIES else b""
        if len(table) < 12 * entries or not table:
            continue
        directory = _Directory(dict(_values(file, order, table[: 12 * entries])))
        yield directory
        waiting += directory.values.get(_SUB_IFDS, ())
        if len(table) == 12 * entries + 4:
            waiting.append(struct.unpack(f"{order}I", table[-4:])[0])


def _values(file: BinaryIO, order: str, table: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield each tag with its whole numbers; other types are given as (1,), as only their presence counts."""
    for at in range(0, len(table), 12):
        tag, kind, count = struct.unpack(f"{order}HHI", table[at : at + 8])
        code = {3: "H", 4: "I", 13: "I"}.get(kind)
        if code is None or not 0 < count <= _MAX_VALUES:
            yield tag, (1,)
            continue
        size = count * struct.calcsize(code)
        raw = table[at + 8 : at + 8 + size]
        if size > 4:
            file.seek(struct.unpack(f"{order}I", table[at + 8 : at + 12])[0])
            raw = file.read(size)
        if len(raw) == size:
            yield tag, struct.unpack(f"{order}{count}{code}", raw)


def _has_sensor_data(content: bytes, directories: list[_Directory]) -> bool:
    """Return whether the sensor's data is known to be in the file: LibRaw makes noise of data that is missing."""
    sensor = [one for one in directories if one.is_sensor_data and one.data]
    if any(end > len(content) for one in sensor for _, end in one.data):
        return False
    # Compressed data takes 4 bits per pixel at the very least; an eighth of that is an empty shell.
    sizes = ((one, sum(end - start for start, end in one.data)) for one in sensor)
    return any(16 * size >= one.first(_WIDTH) * one.first(_HEIGHT) for one, size in sizes)


def _largest(directories: list[_Directory]) -> tuple[int, int]:
    sizes = [(one.first(_WIDTH), one.first(_HEIGHT)) for one in directories]
    return max([(1, 1), *sizes], key=lambda size: size[0] * size[1])


def _metadata(content: bytes) -> Image.Exif | None:
    """Return the EXIF of a RAW; None if it is in the preview, as in a RAF."""
    block = _tiff_block(content)
    if block is None:
        return None
    try:
        exif = Image.Exif()
        exif.load(block)
        position = _cr3_block(content, b"CMT4")
        if position is not None:
            inner = Image.Exif()
            inner.load(position)
            exif[ExifTags.IFD.GPSInfo] = dict(inner)
            whole = exif.tobytes()
            exif = Image.Exif()
            exif.load(whole)
    except Exception:  # noqa: BLE001 - damaged EXIF raises nearly every type
        return None
    return exif


def _tiff_block(content: bytes) -> bytes | None:
    """Return the part of a RAW file that is a TIFF, with the header that readers of TIFF know."""
    if content[4:8] == b"ftyp":
        return _cr3_block(content, b"CMT1")
    if content.startswith(b"\0MRM"):
        at = content.find(b"\0TTW", 0, 4096)
        content = content[at + 8 :] if at >= 0 else b""
    magic = _TIFF_MAGIC.get(content[:2])
    if magic is None or content[6:14] == b"HEAPCCDR":
        return None
    return content if content.startswith(magic) else magic + content[4:]


def _cr3_block(content: bytes, name: bytes) -> bytes | None:
    """Return a TIFF in the metadata boxes of a CR3."""
    if content[4:8] != b"ftyp":
        return None
    at = content.find(name, 0, _CR3_HEAD)
    size = int.from_bytes(content[at - 4 : at], "big") if at >= 4 else 0
    return content[at + 4 : at - 4 + size] if size > 8 else None


def _cr3_packet(content: bytes) -> bytes | None:
    at = content.find(_CR3_XMP, 0, _CR3_HEAD) if content[4:8] == b"ftyp" else -1
    size = int.from_bytes(content[at - 8 : at - 4], "big") if at >= 8 else 0
    return content[at + 16 : at - 8 + size] if size > 24 else None
