"""THE table of formats: which suffixes count as photos, how a format is detected, and what decodes it.

It also knows the files that stand beside photos and are none: videos, and companions that belong to a photo.
"""

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


RAW_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "erf", "fff", "gpr", "iiq", "k25", "kdc", "mef", "mos"),
        *("mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
    )
)
"""Suffixes, in lower case, of RAW formats that no program writes metadata into; DNG is not one of them."""

RAW = ImageFormat(
    "RAW",
    (*sorted(RAW_SUFFIXES), ".dng"),
    ("landmarks.imaging.raw", "RawImageFile"),
    (
        *(
            b"II*\0????CR",
            b"II*\0????IIII",
            b"MM\0*????MMMM",
            b"IIRO",
            b"IIRS",
            b"MMOR",
            b"IIU\0",
            b"FUJIFILMCCD-RAW",
        ),
        *(b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR"),
    ),
    frozenset({b"crx "}),
)
"""Camera RAW. Others, such as DNG, NEF and ARW, begin like any TIFF (see `landmarks.imaging.raw.is_raw_tiff`)."""

FORMATS = (
    RAW,
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
    ImageFormat(
        "JPEG 2000",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        ("landmarks.imaging.jp2", "Jp2ImageFile"),
        (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ),
    ImageFormat(
        "JPEG XL",
        (".jxl",),
        ("landmarks.imaging.jxl", "JxlImageFile"),
        (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
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

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "avi", "insv", "lrv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts"),
        *("mxf", "ogv", "qt", "webm", "wmv"),
    )
)
"""Suffixes of videos, in lower case."""

COMPANION_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("xmp", "aae", "thm", "json", "pp3", "arp", "dop", "cos", "cop", "on1", "nksc", "spd", "vrd", "dr4"),
        *("exv", "mie", "pto", "wav"),
    )
)
"""Suffixes of files that belong to a photo: sidecars, edits, thumbnails, voice memos. In lower case."""

_ANY = ord("?")
_NAMES = [each.name for each in FORMATS if each is not RAW] + [RAW.name]
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
