"""Finds photos and sidecars again, by their content, after somebody has moved, renamed or swapped them.

The ledger knows files by their paths. Before they are undone or judged, its paths are brought up to date: a photo
that is no longer where it was is looked for in the library by its size and SHA-256, and its sidecar beside it.
What is not found keeps its old path. So does a photo that was edited: what we wrote for it is in place, and a copy
of its old content is another photo.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from landmarks.files.checksums import sha256_file
from landmarks.files.walker import WalkRules, walk
from landmarks.imaging.photos import walk_photos
from landmarks.library.ledger import Ledger
from landmarks.library.records import Whereabouts
from landmarks.metadata.entries import Entries
from landmarks.metadata.reading import embedded_entries
from landmarks.metadata.sidecars import MAX_SIDECAR_BYTES, own_sidecar, read_sidecar, sidecars_of

_MISSING = b".landmarks/missing/"  # where nothing ever is: photos whose place another one has taken
_MOVED_FILE = "UPDATE changes SET target = ? WHERE photo = ? AND target = ?"


def follow_moves(ledger: Ledger, root: Path, *, sidecars: bool = False) -> dict[bytes, bytes]:
    """Bring the paths in a ledger up to date.

    Args:
        ledger: The ledger.
        root: Root of the library.
        sidecars: Also look for sidecars that have been moved without their photo.

    Returns:
        New path of each photo that has moved, by its old one, relative to the root.
    """
    seen = _look(ledger, root, sidecars=sidecars)
    for photo in [photo for photo, rows in seen.astray.items() if _is_edited(ledger, root, rows)]:
        seen.home.add(photo)
        seen.taken.update(row.target for row in seen.astray.pop(photo))
    if not seen.astray and not seen.lone:
        return {}
    moves = _match(root, seen)
    _part_verdicts(
        ledger, [old for old in seen.astray.keys() - moves if _is_replaced(ledger, root, seen.astray[old])]
    )
    targets = _follow_sidecars(root, seen, moves, search=sidecars)
    if moves or targets:
        _record(ledger, moves, targets)
    for old, new in moves.items():
        places = {targets.get((old, row.target), row.target) for row in seen.astray[old]}
        applying = {new, *(_key(root, each) for each in sidecars_of(_path(root, new)))}
        if not any(_has_ours(ledger, root, new, place) for place in places & applying):
            # Its sidecar stayed behind, and there may be one of another program: it is due again.
            ledger.forget(new)
    return moves


def _record(ledger: Ledger, photos: Mapping[bytes, bytes], targets: Mapping[tuple[bytes, bytes], bytes]) -> None:
    """Record that photos, and the files written for them, have been moved; they may have changed places.

    The records of a photo that another one has displaced are kept, under a path where nothing is.

    Args:
        ledger: The ledger.
        photos: New path of each photo that has moved, by its old one.
        targets: New path of each written file that has moved, by the old paths of its photo and of itself.
    """
    place = _missing_place()
    displaced = {key: place + key for key in photos.values() if key not in photos}
    written = {key: ledger.rows("SELECT DISTINCT target FROM changes WHERE photo = ?", key) for key in displaced}
    photos = {**photos, **displaced}
    targets = {**targets, **{(key, row[0]): place + row[0] for key, rows in written.items() for row in rows}}
    with ledger.transaction():
        for number, (photo, target) in enumerate(targets):
            ledger.execute(_MOVED_FILE, b"\0%d" % number, photo, target)
        for number, old in enumerate(photos):
            _rename(ledger, old, b"\0%d" % number)
        for number, new in enumerate(photos.values()):
            _rename(ledger, b"\0%d" % number, new)
        for number, new in enumerate(targets.values()):
            ledger.execute("UPDATE changes SET target = ? WHERE target = ?", new, b"\0%d" % number)
        _rename_in_steps(ledger, photos)


def _rename(ledger: Ledger, old: bytes, new: bytes) -> None:
    ledger.execute("UPDATE changes SET photo = ? WHERE photo = ?", new, old)
    for table in ("photos", "verdicts"):
        ledger.execute(f"UPDATE OR REPLACE {table} SET photo = ? WHERE photo = ?", new, old)  # noqa: S608


def _part_verdicts(ledger: Ledger, photos: Iterable[bytes]) -> None:
    """Take the verdicts on photos from their paths, which others have now; their content still finds them."""
    place = _missing_place()
    with ledger.transaction():
        for photo in photos:
            ledger.execute("UPDATE verdicts SET photo = ? WHERE photo = ?", place + photo, photo)


def _missing_place() -> bytes:
    return _MISSING + b"%d/" % time.time_ns()


def _rename_in_steps(ledger: Ledger, photos: Mapping[bytes, bytes]) -> None:
    """Let the steps of a review (see `landmarks.library.review.steps`) name photos by their new paths."""
    names = {os.fsdecode(old): os.fsdecode(new) for old, new in photos.items()}
    for (number,) in ledger.rows("SELECT id FROM steps") if names else ():
        action, before = map(json.loads, ledger.row("SELECT action, before FROM steps WHERE id = ?", number))
        for one in (*action["judgements"], *before):
            one["photo"] = names.get(one["photo"], one["photo"])
        values = (json.dumps(action), json.dumps(before), number)
        ledger.execute("UPDATE steps SET action = ?, before = ? WHERE id = ?", *values)


@dataclass
class _Seen:
    """What a look at the paths of a ledger showed.

    Attributes:
        home: Photos that are where they should be.
        taken: Written files that are as they were written.
        astray: Photos that are not, with what was written for each.
        lone: Written files that are gone from beside their photo.
    """

    home: set[bytes] = field(default_factory=set)
    taken: set[bytes] = field(default_factory=set)
    astray: dict[bytes, list[Whereabouts]] = field(default_factory=lambda: defaultdict(list))
    lone: list[Whereabouts] = field(default_factory=list)


def _look(ledger: Ledger, root: Path, *, sidecars: bool) -> _Seen:
    seen = _Seen()
    for row in ledger.whereabouts():
        if row.photo in seen.astray or (row.photo not in seen.home and not _is_there(root, row)):
            seen.astray[row.photo].append(row)
        else:
            seen.home.add(row.photo)
            if sidecars and not os.path.lexists(_path(root, row.target)):
                seen.lone.append(row)
            elif sidecars and row.target != row.photo:
                seen.taken.add(row.target)
    return seen


def _is_there(root: Path, row: Whereabouts) -> bool:
    """Return whether a photo is in its place, with the content it had."""
    path = os.path.join(os.fsencode(root), row.photo)  # noqa: PTH118 - for each photo of a library
    try:
        status = os.stat(path)  # noqa: PTH116
        if row.sha256 is None or (row.size == status.st_size and row.mtime_ns == status.st_mtime_ns):
            return True
        return row.size in {None, status.st_size} and _digest(_path(root, row.photo)) == row.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be told at the moment


def _is_edited(ledger: Ledger, root: Path, rows: list[Whereabouts]) -> bool:
    """Return whether a photo was edited in its place: it is no other known one, and has what we wrote for it."""
    path = _path(root, rows[0].photo)
    try:
        if ledger.has_content(_digest(path)):
            return False
    except OSError:
        return False
    return any(_has_ours(ledger, root, row.photo, row.target) for row in rows)


def _is_replaced(ledger: Ledger, root: Path, rows: list[Whereabouts]) -> bool:
    """Return whether another photo has the path of one that is gone: what we wrote has gone, too.

    The files of a photo whose tags were all rejected cannot show that; a content that it had before is a backup.
    """
    written = [ledger.newest(row.target) for row in rows]
    if not any(change is not None and change.ours.hierarchy for change in written):
        return False
    try:
        return not ledger.had_content(rows[0].photo, _digest(_path(root, rows[0].photo)))
    except OSError:
        return False


def _has_ours(ledger: Ledger, root: Path, photo: bytes, target: bytes) -> bool:
    """Return whether a file has what we wrote last, or some of it after somebody has changed it."""
    change, path = ledger.newest(target), _path(root, target)
    if change is None or _content(path) == change.after_hash:
        return change is not None
    if target == photo:
        present = embedded_entries(path)[0]
    else:
        packet = read_sidecar(path)
        present = packet.entries() if packet is not None else Entries()
    return bool(Entries(hierarchy=change.ours.hierarchy).common(present))


def _match(root: Path, seen: _Seen) -> dict[bytes, bytes]:
    """Return where the photos that are astray have gone."""
    wanted: dict[bytes, list[bytes]] = defaultdict(list)
    sizes: set[int | None] = set()
    for photo, rows in seen.astray.items():
        if rows[-1].sha256:
            wanted[rows[-1].sha256].append(photo)
            sizes.add(rows[-1].size)
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for key in _photos(root) if wanted else ():
        if key in seen.home:
            continue
        path = _path(root, key)
        try:
            if None in sizes or path.stat().st_size in sizes:
                digest = _digest(path)
                if digest in wanted:
                    found[digest].append(key)
        except OSError:
            continue
    moves: dict[bytes, bytes] = {}
    used: set[bytes] = set()
    for digest, places in found.items():
        # Of several copies, one that kept its name is taken first.
        pairs = [(_name(old) != _name(new), old, new) for old in wanted[digest] for new in places]
        for _, old, new in sorted(pairs):
            if old not in moves and new not in used:
                moves[old] = new
                used.add(new)
    return {old: new for old, new in moves.items() if old != new}


def _follow_sidecars(
    root: Path, seen: _Seen, moves: dict[bytes, bytes], *, search: bool
) -> dict[tuple[bytes, bytes], bytes]:
    """Return where the files written for moved photos, and sidecars without their photo, have gone."""
    targets: dict[tuple[bytes, bytes], bytes] = {}
    lost = list(seen.lone)
    for photo, new in moves.items():
        for row in seen.astray[photo]:
            place = _beside(root, row, new)
            if _content(_path(root, place)) != row.after_hash and row.target != photo:
                lost.append(row)
            if place != row.target:
                targets[photo, row.target] = place
    if search and lost:
        places: dict[bytes, list[bytes]] = defaultdict(list)
        known = seen.taken.union(targets.values())
        for key in _sidecars(root):
            if key not in known:
                places[_content(_path(root, key)) or b""].append(key)
        for row in lost:
            if places.get(row.after_hash):
                targets[row.photo, row.target] = places[row.after_hash].pop(0)
    return targets


def _beside(root: Path, row: Whereabouts, new: bytes) -> bytes:
    """Return the file that was written for a photo that is now at `new`."""
    if row.target == row.photo:
        return new
    old, target, path = _name(row.photo), _name(row.target), _path(root, new)
    if target.lower().startswith(old.lower()):
        renamed = path.with_name(path.name + target[len(old) :])
    else:
        renamed = path.with_suffix(Path(target).suffix)
    own = own_sidecar(path)
    named = [each for each in (renamed, own) if each is not None]
    places = [_key(root, renamed), row.target, *(_key(root, each) for each in named[1:])]
    for place in places:
        if _content(_path(root, place)) == row.after_hash:
            return place
    return _key(root, next((each for each in named if os.path.lexists(each)), renamed))


def _content(path: Path) -> bytes | None:
    try:
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        return _digest(path)
    except OSError:
        return None


def _digest(path: Path) -> bytes:
    return bytes.fromhex(sha256_file(path))


def _photos(root: Path) -> Iterator[bytes]:
    return _keys(root, walk_photos([root], on_skip=lambda _skipped: None))


def _sidecars(root: Path) -> Iterator[bytes]:
    found = walk([root], WalkRules(frozenset({".xmp"})))
    return _keys(root, (path for path in found if isinstance(path, Path)))


def _keys(root: Path, paths: Iterable[Path]) -> Iterator[bytes]:
    return (_key(root, path) for path in paths)


def _key(root: Path, path: Path) -> bytes:
    return os.fsencode(path.relative_to(root))


def _path(root: Path, key: bytes) -> Path:
    return root / os.fsdecode(key)


def _name(key: bytes) -> str:
    return Path(os.fsdecode(key)).name
