"""Matches sidecars to photos.

Sidecars are named `photo.jpg.xmp` or `photo.xmp`, in upper or lower case, and several files may share the name of
`photo.xmp`: `photo.cr2`, `photo.heic`, `photo.AAE`, `photo.MOV`. Its owner is then found from its content or from
the types of these files. Beside `photo.jpg`, `photo.jpg.xmp` is never the sidecar of `photo.jpg.jpeg`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from landmarks.imaging.formats import PHOTO_SUFFIXES, RAW_SUFFIXES, VIDEO_SUFFIXES
from landmarks.metadata.entries import compare_key
from landmarks.metadata.packet import PacketError
from landmarks.metadata.xmp import XmpPacket

MAX_SIDECAR_BYTES = 32 * 2**20
"""Maximum size of a sidecar in bytes; larger ones are left alone."""

_PICTURES = PHOTO_SUFFIXES | {".psd"}
_LISTED = _PICTURES | VIDEO_SUFFIXES | {".xmp"}
_SCANS = 50  # a listing of a large folder is reused for this many times its own duration
_LARGE = 100  # stems in such a folder
_TICK = 50_000_000  # nanoseconds: file-system clocks are coarse


@dataclass(frozen=True)
class _Folder:
    """Names of photos, videos and sidecars in a folder, by their case-folded stems."""

    stamp: tuple[int, int, int]
    names: dict[str, list[str]]
    begun_ns: int
    seen: float
    cost: float


_folders: dict[str, _Folder] = {}


def is_raw(photo: Path) -> bool:
    """Return whether a photo is in a RAW format that no program writes metadata into."""
    return photo.suffix.lower() in RAW_SUFFIXES


def own_sidecar(photo: Path) -> Path | None:
    """Return the sidecar of a photo, or None: `photo.jpg.xmp` before `photo.xmp`, ignoring case."""
    return _full(photo) or (_stem(photo) if _owns_stem(photo) else None)


def shared_sidecar(photo: Path) -> Path | None:
    """Return a `photo.xmp` that this photo may share with another, for example a HEIC with its JPEG; else None."""
    stem = _stem(photo)
    if stem is None or is_raw(photo) or any(is_raw(Path(name)) for name in _siblings(photo)):
        return None
    return stem if _named_owner(stem, photo) is None and not _owns_stem(photo) else None


def sidecars_of(photo: Path) -> list[Path]:
    """Return the sidecars that apply to a photo, in order of precedence."""
    stem = _stem(photo) if _owns_stem(photo) else shared_sidecar(photo)
    return [path for path in (_full(photo), stem) if path is not None]


def may_own_stem(photo: Path) -> bool:
    """Return whether a new `photo.xmp` would belong to this photo alone."""
    if _stem_is_taken(photo):
        return False
    others = _siblings(photo)
    return not others or (is_raw(photo) and not any(is_raw(Path(name)) for name in others))


def read_sidecar(path: Path) -> XmpPacket | None:
    """Read a sidecar; None if it does not exist or cannot be read."""
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
    """Return which of the photos that share its name a sidecar declares as its owner, or None."""
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
    return None if _stem_is_taken(photo) else _sidecar(photo, photo.stem)


def _stem_is_taken(photo: Path) -> bool:
    """Return whether the stem is the whole name of another photo or video, as for `photo.jpg.jpeg`."""
    stem = photo.stem
    if _suffix(stem) not in _LISTED:
        return False
    names = _named(os.path.dirname(photo), os.path.splitext(stem)[0])  # noqa: PTH120, PTH122
    return compare_key(stem) in map(compare_key, names)


def _sidecar(photo: Path, base: str) -> Path | None:
    """Return the sidecar named `base` plus `.xmp`, ignoring case, or None."""
    folder = os.path.dirname(photo)  # noqa: PTH120 - for each photo of a library
    found = sorted(name for name in _named(folder, base) if _suffix(name) == ".xmp")
    for name in (f"{base}.xmp", f"{base}.XMP", *found):  # a listing may be slightly out of date
        # In a folder with a.jpg and A.jpg, a.xmp belongs to a.jpg.
        others = _siblings(photo) if name[:-4] != base else []
        taken = any(name[:-4] in {other, Path(other).stem} for other in others)
        if not taken and os.path.lexists(os.path.join(folder, name)):  # noqa: PTH118
            return photo.with_name(name)
    return None


def _siblings(photo: Path) -> list[str]:
    """Return the other photos with the same name, ignoring suffix and case."""
    names = _named(os.path.dirname(photo), photo.stem)  # noqa: PTH120
    return [name for name in names if name != photo.name and _suffix(name) in _PICTURES]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, and there are very many


def _named(folder: str, stem: str) -> list[str]:
    """Return the photos, videos and sidecars in a folder with a given stem, ignoring case."""
    return _listing(folder).names.get(compare_key(stem), [])


def _listing(folder: str) -> _Folder:
    """Return the names in a folder; slightly out of date if the folder changes all the time."""
    try:
        status = os.stat(folder or ".")  # noqa: PTH116
    except OSError:
        return _Folder((0, 0, 0), {}, 0, 0, 0)
    stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
    known, now, now_ns = _folders.get(folder), time.monotonic(), time.time_ns()
    if known is not None and known.stamp[:2] == stamp[:2]:
        # A listing made just after a change may miss another change with the same timestamp.
        settled = known.stamp == stamp and known.begun_ns - status.st_mtime_ns > _TICK
        if settled or (len(known.names) >= _LARGE and now - known.seen < _SCANS * known.cost):
            return known
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder or "."):  # noqa: PTH208 - names are enough
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() in _LISTED:
                names.setdefault(compare_key(stem), []).append(name)
    except OSError:
        pass
    if len(_folders) >= 8:
        _folders.clear()
    after = time.monotonic()
    _folders[folder] = listing = _Folder(stamp, names, now_ns, after, after - now)
    return listing
