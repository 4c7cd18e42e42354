"""THE table of formats: which suffixes count as photos, how a format is detected, and what decodes it."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64
"""Number of leading bytes from which the format of a file is detected."""


@dataclass(frozen=True)
class ImageFormat:
    """One format.

    Attributes:
        name: Display name.
        suffixes: File suffixes, in lower case.
        plugin: Module and class of the Pillow plugin that reads it.
        signatures: Leading bytes of the content; `?` matches any byte.
        brands: Brands that identify it in an ISO media container (HEIC, AVIF).
    """

    name: str
    suffixes: tuple[str, ...]
    plugin: tuple[str, str]
    signatures: tuple[bytes, ...] = ()
    brands: frozenset[bytes] = frozenset()


FORMATS = (
    # An MPO is a JPEG with more images appended: the plain reader decodes the first.
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
    # One container may list the brands of both, so the more specific ones are checked first.
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
"""Supported formats."""

PHOTO_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Suffixes, in lower case, that count as photos when a folder is read."""

_ANY = ord("?")
_NAMES = [each.name for each in FORMATS]
ACCEPTED_FORMATS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
"""Supported formats, for messages."""


def format_of(head: bytes) -> ImageFormat | None:
    """Return the format of content that begins with `head` (`HEAD_BYTES` bytes, or all of it), or None."""
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
