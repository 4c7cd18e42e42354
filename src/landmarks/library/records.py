"""Rows of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from landmarks.metadata.entries import Entries

PhotoState = Literal["done", "unreadable", "unwritable"]
ChangeState = Literal["writing", "done", "undoing", "undone"]


@dataclass(frozen=True)
class PhotoRow:
    """What is known of a photo that was worked on.

    Attributes:
        photo: Its path below the root, as bytes.
        size: Bytes.
        mtime_ns: Time of its last change.
        sha256: Of its content.
        key: Model and options it was worked on with.
        state: `done`, or which kind of quarantine.
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
    """One write: enough to tell whose bytes stand in the file, and to bring the old ones back.

    Attributes:
        run: The run it belongs to.
        photo: The photo's path below the root, as bytes.
        target: Path of the file that was written, likewise.
        before_hash: SHA-256 of the old content, None where there was no file.
        before_mode: Permissions of the old file.
        before_mtime_ns: Its time.
        after_hash: SHA-256 of what we wrote.
        undo: Delta from the new content to the old, see `landmarks.library.delta`.
        ours: What of the new content is ours.
        tags: Tags with their probabilities, as JSON.
        model: Identity of the model.
        state: How far it is.
        id: Row number; 0 before it is written down.
        time: When it was written down, in seconds since 1970.
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
    """What the user said of a tag: `name` is folded to lower case, `tag` is its JSON where known."""

    name: str
    verdict: Literal["rejected", "confirmed"]
    tag: str | None


@dataclass(frozen=True)
class RunRow:
    """One run that wrote something.

    Attributes:
        id: Its number, for `landmarks undo`.
        kind: What it did: `tag`.
        model: Identity of the model.
        host: Name of the machine.
        started: Seconds since 1970.
        finished: Likewise; None where it was broken off or still runs.
        standing: How many of its changes have not been undone.
    """

    id: int
    kind: str
    model: str
    host: str
    started: float
    finished: float | None
    standing: int
