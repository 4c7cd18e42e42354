"""THE table of formats: which suffixes count as photos, how the content tells a format, and what decodes it."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64
"""So many first bytes of a file tell its format."""


@dataclass(frozen=True)
class ImageFormat:
    """One format.

    Attributes:
        name: For people.
        suffixes: Of its files, in lower case.
        plugin: Module and class of the Pillow plugin that reads it.
        signatures: What the content begins with; a `?` stands for any byte.
        brands: Of an ISO media container (HEIC, AVIF), the brands that say it.
    """

    name: str
    suffixes: tuple[str, ...]
    plugin: tuple[str, str]
    signatures: tuple[bytes, ...] = ()
    brands: frozenset[bytes] = frozenset()


FORMATS = (
    # An MPO is a JPEG with more pictures behind it: the plain reader gives the first one.
    ImageFormat(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        ("PIL.JpegImagePlugin", "JpegImageFile"),
        (b"\xff\xd8\xff",),
    ),
    ImageFormat("PNG", (".png", ".apng"), ("PIL.PngImagePlugin", "PngImageFile"), (b"\x89PNG\r\n\x1a\n",)),
    ImageFormat("WebP", (".webp",), ("PIL.WebPImagePlugin", "WebPImageFile"), (b"RIFF????WEBP",)),
    ImageFormat("GIF", (".gif",), ("PIL.GifImagePlugin", "GifImageFile"), (b"GIF87a", b"GIF89a")),
    ImageFormat(
        "TIFF",
        (".tif", ".tiff"),
        ("PIL.TiffImagePlugin", "TiffImageFile"),
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    ImageFormat("BMP", (".bmp", ".dib"), ("PIL.BmpImagePlugin", "BmpImageFile"), (b"BM",)),
    # The brands of both may stand in one container, so the more telling ones are asked for first.
    ImageFormat(
        "AVIF", (".avif",), ("PIL.AvifImagePlugin", "AvifImageFile"), brands=frozenset({b"avif", b"avis"})
    ),
    ImageFormat(
        "HEIC",
        (".heic", ".heif", ".heics", ".hif"),
        ("pillow_heif", "HeifImageFile"),
        brands=frozenset(
            {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
        ),
    ),
)
"""The formats that are read."""

PHOTO_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Suffixes, in lower case, that count as photos when a folder is read."""

_ANY = ord("?")
_NAMES = [each.name for each in FORMATS]
ACCEPTED_FORMATS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
"""The formats that are read, for messages."""


def format_of(head: bytes) -> ImageFormat | None:
    """Return the format of a content that begins with `head` (`HEAD_BYTES` or all), or None."""
    brands: frozenset[bytes] = frozenset()
    if head[4:8] == b"ftyp":
        # The major brand first, then the compatible ones.
        length = int.from_bytes(head[:4], "big")
        brands = frozenset(head[at : at + 4] for at in (8, *range(16, min(length, len(head)), 4)))
    for each in FORMATS:
        if each.brands & brands or any(_begins(head, signature) for signature in each.signatures):
            return each
    return None


def _begins(head: bytes, signature: bytes) -> bool:
    if len(head) < len(signature):
        return False
    return all(wanted in (found, _ANY) for found, wanted in zip(head, signature, strict=False))
