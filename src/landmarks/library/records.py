"""Rows of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from landmarks.metadata.entries import Entries

PhotoState = Literal["done", "unreadable", "unwritable"]
ChangeState = Literal["writing", "done", "undoing", "undone"]


@dataclass(frozen=True)
class PhotoRow:
    """A photo that was processed.

    Attributes:
        photo: Its path relative to the root, as bytes.
        size: Size in bytes.
        mtime_ns: Time of its last change, in nanoseconds.
        sha256: SHA-256 of its content.
        key: The model and options used.
        state: `done`, or the kind of quarantine.
        reason: Why it is in quarantine.
    """

    photo: bytes
    size: int
    mtime_ns: int
    sha256: bytes
    key: str
    state: PhotoState = "done"
    reason: str | None = None


@dataclass(frozen=True)
class Change:
    """One write, with enough data to recognise our content in the file and to restore the previous one.

    Attributes:
        run: The run it belongs to.
        photo: The photo's path relative to the root, as bytes.
        target: Path of the written file, likewise.
        before_hash: SHA-256 of the old content, None if there was no file.
        before_mode: Permissions of the old file.
        before_mtime_ns: Modification time of the old file, in nanoseconds.
        after_hash: SHA-256 of what we wrote.
        undo: Delta from the new content to the old, see `landmarks.library.delta`.
        ours: Our entries in the new content.
        tags: Tags with their probabilities, as JSON.
        model: Identity of the model.
        state: Its progress.
        id: Row number; 0 before it is recorded.
        time: When it was recorded, in seconds since 1970.
    """

    run: int
    photo: bytes
    target: bytes
    before_hash: bytes | None
    before_mode: int | None
    before_mtime_ns: int | None
    after_hash: bytes
    undo: bytes | None
    ours: Entries
    tags: str
    model: str
    state: ChangeState = "writing"
    id: int = 0
    time: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The user's verdict on a tag: `name` is case-folded, `tag` is the tag as JSON if known."""

    name: str
    verdict: Literal["rejected", "confirmed"]
    tag: str | None


@dataclass(frozen=True)
class RunRow:
    """One run that wrote something.

    Attributes:
        id: Its number, for `landmarks undo`.
        kind: Kind of run: `tag`.
        model: Identity of the model.
        host: Name of the machine.
        started: Seconds since 1970.
        finished: Likewise; None if it was interrupted or is still running.
        standing: Number of its changes that are still in place.
    """

    id: int
    kind: str
    model: str
    host: str
    started: float
    finished: float | None
    standing: int
