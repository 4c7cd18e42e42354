"""Which sidecar belongs to which photo.

Sidecars come as `photo.jpg.xmp` and as `photo.xmp`, in upper and lower case, and beside `photo.xmp` there may be
much else that shares the name: `photo.cr2`, `photo.heic`, `photo.AAE`, `photo.MOV`. Whose it is then, its content
or the kinds of the files tell.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from landmarks.imaging.formats import PHOTO_SUFFIXES
from landmarks.metadata.entries import compare_key
from landmarks.metadata.packet import PacketError
from landmarks.metadata.xmp import XmpPacket

MAX_SIDECAR_BYTES = 32 * 2**20
"""A larger sidecar is left alone."""

RAW_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "erf", "fff", "gpr", "iiq", "k25", "kdc", "mef", "mos"),
        *("mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
    )
)
"""Suffixes, in lower case, of RAW formats that no program writes metadata into; DNG is not one of them."""

_PICTURES = PHOTO_SUFFIXES | RAW_SUFFIXES | {".dng", ".jxl", ".jp2", ".psd"}
_SCANS = 20  # a listing of a huge folder serves this many times as long as it took
_HUGE = 0.002  # seconds that such a listing takes
_TICK = 50_000_000  # nanoseconds: clocks of file systems are coarse


@dataclass(frozen=True)
class _Folder:
    """Names of pictures and sidecars in a folder, by their folded names without the suffix."""

    stamp: tuple[int, int, int]
    names: dict[str, list[str]]
    begun_ns: int
    seen: float
    cost: float


_folders: dict[str, _Folder] = {}


def is_raw(photo: Path) -> bool:
    """Tell whether a photo is of a RAW format that no program writes metadata into."""
    return photo.suffix.lower() in RAW_SUFFIXES


def own_sidecar(photo: Path) -> Path | None:
    """Return the sidecar that a photo has, or None: `photo.jpg.xmp` before `photo.xmp`, in whatever case."""
    return _full(photo) or (_stem(photo) if _owns_stem(photo) else None)


def shared_sidecar(photo: Path) -> Path | None:
    """Return a `photo.xmp` that may be this photo's as well as another's, for example of a HEIC and its JPEG."""
    stem = _stem(photo)
    if stem is None or is_raw(photo) or any(is_raw(Path(name)) for name in _siblings(photo)):
        return None
    return stem if _named_owner(stem, photo) is None and not _owns_stem(photo) else None


def sidecars_of(photo: Path) -> list[Path]:
    """Return the sidecars that say something of a photo, the one that counts most first."""
    stem = _stem(photo) if _owns_stem(photo) else shared_sidecar(photo)
    return [path for path in (_full(photo), stem) if path is not None]


def may_own_stem(photo: Path) -> bool:
    """Tell whether a new `photo.xmp` would be this photo's alone."""
    others = _siblings(photo)
    return not others or (is_raw(photo) and not any(is_raw(Path(name)) for name in others))


def read_sidecar(path: Path) -> XmpPacket | None:
    """Read a sidecar; None where there is none or it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        return XmpPacket(path.read_bytes())
    except (OSError, PacketError):
        return None


def _owns_stem(photo: Path) -> bool:
    if may_own_stem(photo):
        return True
    stem = _stem(photo)
    return stem is not None and _named_owner(stem, photo) == photo.name


def _named_owner(stem: Path, photo: Path) -> str | None:
    """Return which of the photos that share a name a sidecar says it belongs to; None where it says nothing."""
    packet = read_sidecar(stem)
    said = packet.photo_name() if packet is not None else ""
    if not said:
        return None
    wanted = compare_key(said.rpartition("/")[2].rpartition("\\")[2])
    for name in [photo.name, *_siblings(photo)]:
        if wanted in {compare_key(name), compare_key(Path(name).suffix.removeprefix("."))}:
            return name
    return None


def _full(photo: Path) -> Path | None:
    return _sidecar(photo, photo.name)


def _stem(photo: Path) -> Path | None:
    return _sidecar(photo, photo.stem)


def _sidecar(photo: Path, base: str) -> Path | None:
    """Return the sidecar whose name is `base` and `.xmp`, in whatever case."""
    found = [photo.with_name(name) for name in _named(photo.parent, base) if _suffix(name) == ".xmp"]
    # A listing may be a moment old.
    found = [photo.with_name(base + suffix) for suffix in (".xmp", ".XMP")] + sorted(found)
    for path in found:
        # In a folder with a.jpg and A.jpg, a.xmp is that of a.jpg.
        others = _siblings(photo) if path.name[:-4] != base else []
        taken = any(path.name[:-4] in {name, Path(name).stem} for name in others)
        if not taken and os.path.lexists(path):
            return path
    return None


def _siblings(photo: Path) -> list[str]:
    """Return the other pictures that share the photo's name but for the suffix and the case."""
    names = _named(photo.parent, photo.stem)
    return [name for name in names if name != photo.name and _suffix(name) in _PICTURES]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, of which there are very many


def _named(folder: Path, stem: str) -> list[str]:
    """Return the pictures and sidecars in a folder that have a name, whatever its case, with any suffix."""
    return _listing(folder).names.get(compare_key(stem), [])


def _listing(folder: Path) -> _Folder:
    """Return the names in a folder; in one that changes all the time, of a moment ago."""
    key = str(folder)
    try:
        status = folder.stat()
    except OSError:
        return _Folder((0, 0, 0), {}, 0, 0, 0)
    stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
    known, now, now_ns = _folders.get(key), time.monotonic(), time.time_ns()
    if known is not None and known.stamp[:2] == stamp[:2]:
        # A listing made just after a change may lack another change with the same time.
        settled = known.stamp == stamp and known.begun_ns - status.st_mtime_ns > _TICK
        if settled or (known.cost > _HUGE and now - known.seen < _SCANS * known.cost):
            return known
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - names are enough
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() == ".xmp" or suffix.lower() in _PICTURES:
                names.setdefault(compare_key(stem), []).append(name)
    except OSError:
        pass
    if len(_folders) >= 8:
        _folders.clear()
    after = time.monotonic()
    _folders[key] = listing = _Folder(stamp, names, now_ns, after, after - now)
    return listing
