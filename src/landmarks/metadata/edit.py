"""Plans metadata edits: what is written about a photo, and where. `landmarks.library` carries them out.

By default the photo is not touched: its tags go into an XMP sidecar, edited by `landmarks.metadata.xmp` with only
the standard library. Photos themselves (`in_place`) are written by ExifTool, an external program that the user
installs. ExifTool 12.57 and pyexiv2 2.16 (Exiv2 0.28.8) were tested on a JPEG, PNG, WebP, TIFF, GIF, HEIC, AVIF
and BMP file: ExifTool writes XMP to all but BMP; pyexiv2 refuses GIF, HEIC, AVIF and BMP and cannot open a file
whose name is not UTF-8. pyexiv2 is under the GPL 3, so this MIT-licensed package could at most have it as an
extra, and because Exiv2 runs inside the process, a damaged photo could crash the whole run.

The landmark's coordinates go into `Iptc4xmpExt:LocationShown`, the place shown; a camera position, in EXIF or
`exif:GPSLatitude`, is never changed. Only on request, and only if there is none, is the landmark's position
written there, with a `GPSProcessingMethod` that marks it as ours, so `read_position` does not take it for the
camera's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from landmarks.errors import MetadataError
from landmarks.imaging.formats import HEAD_BYTES, format_of
from landmarks.metadata.entries import SINGLES, Entries, distinct, seed_tag_paths
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.packet import PacketError
from landmarks.metadata.reading import embedded_entries, read_position
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.sidecars import (
    MAX_SIDECAR_BYTES,
    is_raw,
    may_own_stem,
    own_sidecar,
    read_sidecar,
    shared_sidecar,
)
from landmarks.metadata.xmp import XmpPacket

_WITHOUT_EXIF = "GIF"
_WITH_IPTC = frozenset({"JPEG", "PNG", "TIFF", "JPEG 2000"})

_Inside = Callable[[], tuple[Entries, tuple[str, ...]]]
"""Reads the entries in the photo itself (see `embedded_entries`), once."""


@dataclass(frozen=True)
class Edit:
    """A planned change of one file.

    Attributes:
        target: The photo or its sidecar.
        before: Its content, or None if there is no file.
        after: Its content after the edit.
        status: File status when it was read, or None.
        ours: All entries that are ours after the edit, also those that somebody has removed: they stay out.
        added: Entries to add.
        removed: Entries of ours to remove.
        gone: Entries of ours that somebody else has removed.
    """

    target: Path
    before: bytes | None
    after: bytes
    status: os.stat_result | None
    ours: Entries
    added: Entries
    removed: Entries
    gone: Entries

    @property
    def changes(self) -> bool:
        """Whether the content changes."""
        return bool(self.added or self.removed)

    @property
    def is_anew(self) -> bool:
        """Whether nothing of ours was found in the file."""
        return not (self.removed or self.ours.without(self.added))

    def diff(self) -> str:
        """Return the change as lines that begin with `-` or `+`, under the name of the file."""
        lines = [f"--- {self.target}", f"+++ {self.target}"]
        lines += [f"- {line}" for line in self.removed.lines()]
        lines += [f"+ {line}" for line in self.added.lines()]
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def target_of(photo: Path, options: WriteOptions) -> Path:
    """Return the file to which the tags of `photo` are written.

    An existing sidecar is used whatever its naming scheme: a second one would hide it from photo programs. But
    `photo.xmp` is not used for `photo.jpg` if it may belong to `photo.cr2`.

    Raises:
        MetadataError: `photo.xmp` is requested and would belong to several photos.
    """
    raw = is_raw(photo)
    if options.in_place and not raw:
        return photo
    existing = own_sidecar(photo)
    if existing is not None:
        return existing
    if options.sidecar == "full" or (options.sidecar == "auto" and not raw):
        return photo.with_name(photo.name + ".xmp")
    stem = photo.with_name(photo.stem + ".xmp")
    if may_own_stem(photo):
        return stem
    if options.sidecar == "auto":
        return photo.with_name(photo.name + ".xmp")
    raise MetadataError(photo, f"{stem.name} would belong to several photos: name sidecars photo.jpg.xmp")


def source_of(photo: Path, target: Path) -> Path:
    """Return the file that an edit of `target` starts from: itself, or a sidecar that the photo may share.

    Programs that find a new sidecar ignore the shared one, so the new one starts as a copy of it.
    """
    if target == photo or os.path.lexists(target):
        return target
    return shared_sidecar(photo) or target


def plan(
    photo: Path,
    wanted: Entries,
    ours: Entries,
    *,
    options: WriteOptions,
    tool: ExifTool,
    target: Path | None = None,
    embedded: Entries | None = None,
) -> Edit:
    """Plan the edit that makes our entries in a file equal to `wanted`, and leaves all others unchanged.

    Args:
        photo: The photo.
        wanted: The entries we want.
        ours: Our entries, from the last edit, in the file that this one starts from (see `source_of`); those no
            longer wanted are removed.
        options: Where tags are written.
        tool: ExifTool, to write into photos.
        target: The file, if it is already known.
        embedded: Our entries in the photo itself, which a new sidecar does not repeat as the user's.

    Returns:
        The edit. Entries that the user already has are not repeated and never become ours.

    Raises:
        MetadataError: The file cannot be edited safely, for example because of broken XML; nothing was changed.
    """
    path = target if target is not None else target_of(photo, options)
    before, status = _read(path, is_sidecar=path != photo)
    if path == photo:
        if before is None:
            raise MetadataError(photo, "the photo is gone")
        return _plan_embedded(photo, before=before, status=status, wanted=wanted, ours=ours, tool=tool)
    theirs = embedded or Entries()
    return _plan_sidecar(photo, path, before=before, status=status, wanted=wanted, ours=ours, embedded=theirs)


def _plan_sidecar(
    photo: Path,
    path: Path,
    *,
    before: bytes | None,
    status: os.stat_result | None,
    wanted: Entries,
    ours: Entries,
    embedded: Entries,
) -> Edit:
    wanted, inside = replace(wanted, iptc_keywords=()), cache(partial(embedded_entries, photo))
    try:
        packet = _packet_of(photo, path, before)
        if before is None:
            packet.remove(ours)
            ours = Entries()
        present = packet.entries()
        ours = _known_again(ours, present)
        gone, (removed, kept) = ours.without(present), _divided(ours, wanted, present)
        wanted = wanted.without(gone)
        packet.remove(removed)
        user, carried = _carried(inside, packet, present.without(ours), None if ours else embedded)
        if wanted.tag_paths and not user.tag_paths and not ours.tag_paths:
            packet.add(Entries(tag_paths=carried))
            user = user.plus(Entries(tag_paths=carried))
            kept = replace(kept, seeded=carried)
        added = _fitting(wanted.without(user).without(kept), user, inside, embedded)
        if added.position is not None and (packet.has_position() or read_position(photo) is not None):
            added = replace(added, position=None)
        packet.add(added)
        after = packet.to_bytes() if added or removed or before is None else before
    except PacketError as error:
        raise MetadataError(path, f"{error}: repair or move the sidecar; it was left alone") from error
    return Edit(path, before, after, status, kept.plus(added), added, removed, gone)


def _divided(ours: Entries, wanted: Entries, present: Entries) -> tuple[Entries, Entries]:
    """Return our entries to remove, and those to keep.

    With our last path go the ones that we repeated with the first, unless another program writes paths there.
    """
    removed, kept = ours.without(wanted).common(present), ours.common(wanted)
    outdated = _outdated(ours, wanted, present)
    removed, kept = removed.plus(outdated), kept.without(outdated)
    if wanted.tag_paths:
        return removed, kept
    seeded = Entries(tag_paths=ours.seeded)
    others = present.without(ours).without(seeded).tag_paths
    return removed if others else removed.plus(seeded.common(present)), replace(kept, seeded=())


def _outdated(ours: Entries, wanted: Entries, present: Entries) -> Entries:
    """Return our locations that are as we wrote them, but of which we know better now."""
    mine, better = ({one.key: one for one in entries.locations} for entries in (ours, wanted))
    return Entries(
        locations=tuple(
            one
            for one in present.locations
            if one.key in mine.keys() & better.keys()
            and one.agrees_with(mine[one.key])
            and not one.agrees_with(better[one.key])
        )
    )


def _known_again(ours: Entries, present: Entries) -> Entries:
    """Return our entries, none if all are gone from a file, the place too: then it is a backup or another photo.

    Somebody who removes a tag by hand removes keywords, but hardly ever the location shown, city and country.
    Keywords prove nothing: another photo may have that of the country.
    """
    placed = ours.locations or any(getattr(ours, name) for name in SINGLES)
    telling = replace(ours, keywords=(), iptc_keywords=())
    return Entries() if placed and not telling.common(present) else ours


def _packet_of(photo: Path, path: Path, before: bytes | None) -> XmpPacket:
    """Return the packet to edit."""
    source = path if before is not None else source_of(photo, path)
    return XmpPacket(before) if source == path else read_sidecar(source) or XmpPacket()


def _carried(
    inside: _Inside, packet: XmpPacket, user: Entries, ours_inside: Entries | None
) -> tuple[Entries, tuple[str, ...]]:
    """Return the user's entries, and as digiKam paths those that digiKam would no longer read.

    A sidecar without keywords gets the user's inside the photo, which our sidecar would hide from programs: all
    but `ours_inside`; None if it has them.
    """
    others = packet.other_paths()
    seed = user
    if ours_inside is not None and not (user.keywords or user.hierarchy or user.tag_paths):
        embedded, inner = inside()
        embedded = embedded.without(ours_inside)
        others += inner
        copied = Entries(distinct(embedded.keywords + embedded.iptc_keywords), embedded.hierarchy)
        packet.add(copied)
        user = user.plus(copied)
        seed = user.plus(embedded)
    paths = seed.tag_paths or seed_tag_paths(seed.keywords, distinct(seed.hierarchy + others))
    return user, paths


def _fitting(added: Entries, user: Entries, inside: _Inside, ours_inside: Entries) -> Entries:
    """Return the entries that may be added, without a city or country that contradicts the user's.

    Args:
        added: The entries.
        user: The user's entries in the file.
        inside: Reads the photo, in which there may be more of the user's.
        ours_inside: Our entries in the photo.
    """
    if any(getattr(added, name) for name in SINGLES):
        user = user.plus(inside()[0].without(ours_inside))
    other = added.without(user)
    if any(getattr(user, name) and getattr(other, name) for name in SINGLES):
        return replace(added, sublocation=(), city=(), region=(), country=(), country_code=())
    return added


def _plan_embedded(
    photo: Path, *, before: bytes, status: os.stat_result | None, wanted: Entries, ours: Entries, tool: ExifTool
) -> Edit:
    present, has_position = tool.read(photo, before)
    kind = format_of(before[:HEAD_BYTES])
    name = None if kind is None else kind.name
    if has_position or name == _WITHOUT_EXIF or read_position(photo, before) is not None:
        wanted = replace(wanted, position=None)
    if name not in _WITH_IPTC:
        wanted = replace(wanted, iptc_keywords=())
    ours = _known_again(ours, present)
    gone, (removed, kept) = ours.without(present), _divided(ours, wanted, present)
    wanted = wanted.without(gone)
    user, inside = present.without(ours), cache(partial(embedded_entries, before))
    added = _fitting(wanted.without(user).without(kept), user, inside, ours)
    put = added
    if added.tag_paths and not user.tag_paths and not ours.tag_paths:
        paths = seed_tag_paths(user.keywords + user.iptc_keywords, distinct(user.hierarchy + inside()[1]))
        put, kept = replace(added, tag_paths=paths + added.tag_paths), replace(kept, seeded=paths)
    after = tool.edit(photo, before, remove=removed, add=put) if added or removed else before
    return Edit(photo, before, after, status, kept.plus(added), added, removed, gone)


def _read(path: Path, *, is_sidecar: bool) -> tuple[bytes | None, os.stat_result | None]:
    """Read a file that we may replace; refuse it if replacing would do harm."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise MetadataError(path, f"it cannot be read ({(error.strerror or 'unknown').lower()})") from error
    if stat.S_ISLNK(status.st_mode):
        way_out = "replace it by the file it leads to" if is_sidecar else "name the file it leads to"
        raise MetadataError(path, f"it is a link, which writing would turn into a file: {way_out}")
    if not stat.S_ISREG(status.st_mode):
        raise MetadataError(path, "it is not a regular file")
    if status.st_nlink > 1:
        way_out = "replace it by a copy of it" if is_sidecar else "use a sidecar"
        raise MetadataError(path, f"it has several names (hard links), which writing would part: {way_out}")
    if not status.st_mode & 0o222:
        raise MetadataError(path, "it is read-only: change its permissions")
    if path.suffix.lower() == ".xmp" and status.st_size > MAX_SIDECAR_BYTES:
        raise MetadataError(path, "it is too large for a sidecar")
    try:
        return path.read_bytes(), status
    except OSError as error:
        raise MetadataError(path, f"it cannot be read ({(error.strerror or 'unknown').lower()})") from error
