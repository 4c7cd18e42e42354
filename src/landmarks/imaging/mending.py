"""Pictures whose pixels are good and whose metadata is not: their content without what stands in the way.

Asked only where a decoder has refused a picture, so that ordinary ones pay nothing. What is left out is never
unpacked: a text chunk that would fill the memory does not.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import BinaryIO

from PIL import ImageChops, JpegImagePlugin

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"})
_JPEG_END = b"\xff\xd9"
_JPEG_NOISE = bytes(range(1, 251)) * 64  # no 0xFF in it, so all of it would be picture
_COMPARED = 1024  # pixels of the short side at which two readings of a JPEG are compared


def mended(file: BinaryIO, kind: str) -> BinaryIO | None:
    """Return the content of a picture without broken metadata, or with the end that it lacks.

    Args:
        file: The picture.
        kind: Its format, by name.

    Returns:
        A content to try, or None where there is nothing to mend: a picture that was cut short stays damaged.
    """
    mend = {"PNG": _mended_png, "JPEG": _mended_jpeg}.get(kind)
    if mend is None:
        return None
    file.seek(0)
    content = mend(file.read())
    return None if content is None else BytesIO(content)


def _mended_png(content: bytes) -> bytes | None:
    """Return a PNG with the chunks alone that its pixels need, and its orientation."""
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
    """Tell whether a JPEG without an end has all its pixels: then what comes behind them changes none."""
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
    """Return a JPEG without metadata but its colour model and its sound EXIF; None where it has no picture."""
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
            # Its length is wrong: the tables of the picture come next.
            tables = content.find(b"\xff\xdb\0", at + 4)
            return None if tables < 0 else b"".join([*kept, content[tables:]])
        segment = content[at:end]
        if marker in {0xE0, 0xEE} or segment[4:10] == b"Exif\0\0":
            kept.append(segment)
        at = end
    return None
