"""Repairs images with good pixels and broken metadata, by dropping the metadata.

Used only after a decoder has refused an image, so ordinary ones cost nothing. Dropped parts are never
decompressed, so a text chunk cannot exhaust the memory. It also leaves out the pixels, where only metadata count.
"""

from __future__ import annotations

import os
import zlib
from io import BytesIO
from typing import BinaryIO

from PIL import ImageChops, JpegImagePlugin

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"})
_PNG_PIXELS = frozenset({b"IDAT", b"acTL", b"fcTL", b"fdAT"})  # and those of an animation
_JPEG_END = b"\xff\xd9"
_JPEG_NOISE = bytes(range(1, 251)) * 64  # has no 0xFF, so all of it would be image data
_COMPARED = 1024  # short side, in pixels, at which two decodings of a JPEG are compared


def mended(file: BinaryIO, kind: str) -> BinaryIO | None:
    """Return the content of an image without broken metadata, or with its missing end marker.

    Args:
        file: The image.
        kind: Name of its format.

    Returns:
        Content to try, or None if there is nothing to repair: a truncated image stays damaged.
    """
    mend = {"PNG": _mended_png, "JPEG": _mended_jpeg}.get(kind)
    if mend is None:
        return None
    file.seek(0)
    content = mend(file.read())
    return None if content is None else BytesIO(content)


def png_without_pixels(file: BinaryIO) -> BinaryIO:
    """Return the sound chunks of a PNG but its pixels: Pillow decodes them to read the metadata behind them."""
    kept = [file.read(len(_PNG_SIGNATURE))]
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big") + 4
        if head[4:] in _PNG_PIXELS:
            file.seek(length, os.SEEK_CUR)
            continue
        content = file.read(length)
        if zlib.crc32(content[:-4], zlib.crc32(head[4:])).to_bytes(4, "big") == content[-4:]:
            kept += [head, content]
    return BytesIO(b"".join([*kept, _PNG_END]))


def _mended_png(content: bytes) -> bytes | None:
    """Return a PNG with only its orientation and the chunks that its pixels need."""
    kept, at = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        name = content[at + 4 : at + 8]
        if end > len(content):
            return None
        sound = zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, "big") == content[end - 4 : end]
        if name in _PNG_KEPT and (sound or name[:1].isupper()):
            kept.append(content[at:end])
        at = end
        if name == b"IEND":
            break
    if not kept[-1].endswith(_PNG_END):
        kept.append(_PNG_END)
    joined = b"".join(kept)
    return joined if joined != content else None


def _mended_jpeg(content: bytes) -> bytes | None:
    stripped = _without_segments(content)
    for candidate in (content, stripped):
        if candidate is None:
            continue
        if candidate.rstrip(b"\0").endswith(_JPEG_END):
            if candidate is not content:
                return candidate
        elif _is_whole(candidate):
            return candidate + _JPEG_END
    return None


def _is_whole(content: bytes) -> bool:
    """Return whether a JPEG without an end marker has all its pixels: then appended data changes none of them."""
    try:
        plain, noisy = (_small(content + tail + _JPEG_END) for tail in (b"", _JPEG_NOISE))
    except Exception:  # noqa: BLE001 - decoders raise nearly every type, depending on the damage
        return False
    return ImageChops.difference(plain, noisy).getbbox() is None


def _small(content: bytes) -> JpegImagePlugin.JpegImageFile:
    image = JpegImagePlugin.JpegImageFile(BytesIO(content))
    image.draft(None, (_COMPARED, _COMPARED))
    image.load()
    return image


def _without_segments(content: bytes) -> bytes | None:
    """Return a JPEG with only its colour model and intact EXIF as metadata, or None if it has no image data."""
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return b"".join([*kept, content[at:]])
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[end : end + 1] != b"\xff":
            # Its length is wrong: the tables of the image come next.
            tables = content.find(b"\xff\xdb\0", at + 4)
            return None if tables < 0 else b"".join([*kept, content[tables:]])
        segment = content[at:end]
        if marker in {0xE0, 0xEE} or segment[4:10] == b"Exif\0\0":
            kept.append(segment)
        at = end
    return None
