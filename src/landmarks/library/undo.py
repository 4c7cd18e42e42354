"""Undoes writes: byte for byte, or only our entries if others have changed the file since."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from landmarks.errors import MetadataError, StorageError
from landmarks.library.delta import apply_delta
from landmarks.library.ledger import Ledger
from landmarks.library.records import Change, ChangeState
from landmarks.library.writing import (
    ChangedMeanwhileError,
    Snapshot,
    content_of,
    digest,
    is_full,
    put_file,
    was_written,
)
from landmarks.metadata.edit import plan
from landmarks.metadata.entries import Entries
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.settings import WriteOptions


@dataclass(frozen=True)
class Undone:
    """The outcome of undoing one change.

    Attributes:
        target: The file that had been written.
        status: `restored`: its previous content is back, byte for byte; `cleaned`: others changed it since, so
            only our entries were removed; `gone`: the sidecar of a photo was deleted, and our entries with it;
            `kept`: nothing was done; `planned`: it would be restored or cleaned.
        reason: Why it was kept, or None.
    """

    target: Path
    status: Literal["restored", "cleaned", "gone", "kept", "planned"]
    reason: str | None = None


def undo(ledger: Ledger, root: Path, *, run: int | None = None, below: bytes = b"") -> Iterator[Undone]:
    """Undo changes, newest first.

    Args:
        ledger: The ledger, in which a run was started.
        root: Root of the library.
        run: Only changes of this run.
        below: Only changes for photos in this folder (bytes, relative to the root), or for this photo.

    Yields:
        One report per change.

    Raises:
        StorageError: The disk is full; the remaining changes stay in place.
    """
    with ExifTool() as tool:
        for page in ledger.standing(run=run, below=below):
            yield from undo_changes(ledger, root, page, tool)


def preview(ledger: Ledger, root: Path, *, run: int | None = None, below: bytes = b"") -> Iterator[Undone]:
    """Yield what `undo` would do to each file, and change nothing; arguments are as of `undo`."""
    seen: set[bytes] = set()
    with ExifTool() as tool:
        for page in ledger.standing(run=run, below=below):
            for change in page:
                if change.target not in seen:  # what comes before goes the same way
                    seen.add(change.target)
                    report = _undo_one(ledger, root, change, tool, _put_nothing)
                    is_planned = report.status in {"restored", "cleaned"}
                    yield replace(report, status="planned") if is_planned else report


def _put_nothing(*_: object, **__: object) -> None:
    pass


def undo_changes(ledger: Ledger, root: Path, page: list[Change], tool: ExifTool) -> Iterator[Undone]:
    """Undo some changes, newest first; see `undo`."""
    photos = {change.photo for change in page}
    with ledger.transaction():
        mine = {photo for photo in photos if ledger.claim(photo)}
        for change in page:
            if change.photo in mine:
                ledger.set_state(change.id, "undoing")
    times = Counter(change.target for change in page)
    reports: dict[int, Undone] = {}
    try:
        for change in page:
            if change.photo not in mine:
                target = root / os.fsdecode(change.target)
                reports[change.id] = Undone(target, "kept", "another process is at work on it: try again later")
                continue
            reports[change.id] = _undo_one(ledger, root, change, tool, put_file)
            if times[change.target] > 1:
                # An older change of the same file checks whether this one is still in place.
                ledger.set_state(change.id, _state(reports[change.id]))
    finally:
        interrupted = next((one for one in page if one.photo in mine and one.id not in reports), None)
        with ledger.transaction():
            for change in page:
                if change.photo in mine:
                    state = _state(reports.get(change.id))
                    if change is interrupted and _is_restored(root, change):
                        state = "undone"
                    ledger.set_state(change.id, state)
                    if state == "undone":
                        _step_back(ledger, root, change)
            ledger.release(mine)
    yield from reports.values()


def _step_back(ledger: Ledger, root: Path, undone: Change) -> None:
    """Have a photo processed again, of which a change was undone; until then an earlier change stands."""
    row, photo = ledger.photo(undone.photo), root / os.fsdecode(undone.photo)
    if row is None or row.state != "done" or ledger.of_photo(undone.photo) is None:
        ledger.forget(undone.photo)
        return
    if undone.target == undone.photo:
        try:
            snapshot = Snapshot.of(photo, read=True)
        except OSError:
            ledger.forget(undone.photo)
            return
        row = replace(row, size=snapshot.size, mtime_ns=snapshot.mtime_ns, sha256=snapshot.sha256 or b"")
    ledger.record(replace(row, key=row.due_key, tags=None))


def _state(report: Undone | None) -> ChangeState:
    return "done" if report is None or report.status == "kept" else "undone"


def _is_restored(root: Path, change: Change) -> bool:
    """Return whether a change was undone before Ctrl-C interrupted its record."""
    try:
        target, photo = root / os.fsdecode(change.target), root / os.fsdecode(change.photo)
        return not was_written(target, change.before_hash, photo)
    except OSError:
        return False


def _undo_one(ledger: Ledger, root: Path, change: Change, tool: ExifTool, put: Callable[..., None]) -> Undone:
    target = root / os.fsdecode(change.target)
    later = ledger.changed_since(change)
    if later is not None:
        return Undone(target, "kept", f"run {later} has changed it since: undo that run first")
    try:
        return _bring_back(ledger, root, change, tool, put)
    except StorageError as error:
        if is_full(error):
            raise
        reason = str(error)
    except (MetadataError, ChangedMeanwhileError) as error:
        reason = str(error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    return Undone(target, "kept", reason)


def _bring_back(ledger: Ledger, root: Path, change: Change, tool: ExifTool, put: Callable[..., None]) -> Undone:
    target, photo = root / os.fsdecode(change.target), root / os.fsdecode(change.photo)
    now = content_of(target)
    if now is None and (target == photo or not photo.exists()):
        return Undone(target, "kept", f"neither it nor its photo is found in {root}: bring them back to undo this")
    if now is None:
        return Undone(target, "gone")
    if digest(now) == change.before_hash:
        return Undone(target, "restored")
    if digest(now) == change.after_hash:
        return _restore(target, change, now, put)
    if _is_another(ledger, change, now if target == photo else content_of(photo)):
        return Undone(target, "kept", f"another photo is now called {photo.name}, and its own is not found")
    before = ledger.before(change)
    wanted = before.ours if before is not None else Entries()
    return _clean(target, photo, change, wanted, tool=tool, put=put)


def _is_another(ledger: Ledger, change: Change, photo: bytes | None) -> bool:
    """Return whether the photo in the place of a change is known as another one; an edited one is not."""
    now = digest(photo)
    return now is not None and not ledger.had_content(change.photo, now) and ledger.has_content(now)


def _restore(target: Path, change: Change, now: bytes, put: Callable[..., None]) -> Undone:
    old = None
    if change.undo is not None:
        try:
            old = apply_delta(change.undo, now)
        except (ValueError, zlib.error):
            old = b""
        if digest(old) != change.before_hash:
            return Undone(target, "kept", "the ledger's copy of the old content is damaged")
    put(target, old, expected=change.after_hash, mode=change.before_mode, mtime_ns=change.before_mtime_ns)
    return Undone(target, "restored")


def _clean(
    target: Path, photo: Path, change: Change, wanted: Entries, *, tool: ExifTool, put: Callable[..., None]
) -> Undone:
    """Replace what a change wrote by what the change before it had written."""
    in_place = change.target == change.photo
    edit = plan(photo, wanted, change.ours, options=WriteOptions(in_place=in_place), tool=tool, target=target)
    if edit.changes:
        keep = edit.status.st_mtime_ns if in_place and edit.status is not None else None
        put(target, edit.after, expected=digest(edit.before), mtime_ns=keep)
    return Undone(target, "cleaned")
