"""The database of the ledger: its tables, the migrations between their versions, longer statements, and rows."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from landmarks.errors import LedgerError, StorageError
from landmarks.files.databases import is_foreign
from landmarks.files.temporary import TemporaryFolder
from landmarks.metadata.entries import Entries
from landmarks.metadata.settings import WriteOptions

PhotoState = Literal["done", "unreadable", "unwritable"]
ChangeState = Literal["writing", "done", "undoing", "undone"]

MIGRATIONS = (
    """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, owner TEXT NOT NULL, host TEXT NOT NULL,
    started REAL NOT NULL, finished REAL);
CREATE TABLE photos (
    photo BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 BLOB NOT NULL,
    key TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX photos_by_state ON photos (state, photo) WHERE state <> 'done';
CREATE TABLE claims (photo BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, owner TEXT NOT NULL, photo BLOB NOT NULL,
    target BLOB NOT NULL, state TEXT NOT NULL, before_hash BLOB, before_mode INTEGER, before_mtime_ns INTEGER,
    after_hash BLOB NOT NULL, undo BLOB, ours TEXT NOT NULL, tags TEXT NOT NULL, model TEXT NOT NULL,
    time REAL NOT NULL);
CREATE INDEX changes_by_target ON changes (target, id);
CREATE INDEX changes_by_photo ON changes (photo, id);
CREATE INDEX changes_by_run ON changes (run, id);
CREATE INDEX changes_open ON changes (state) WHERE state IN ('writing', 'undoing');
CREATE TABLE verdicts (
    photo BLOB NOT NULL, sha256 BLOB, name TEXT NOT NULL, verdict TEXT NOT NULL, tag TEXT, time REAL NOT NULL,
    PRIMARY KEY (photo, name)) WITHOUT ROWID;
CREATE INDEX verdicts_by_content ON verdicts (sha256);
""",
    # To version 2: size and content of the photo of each change, by which it is found again after a move.
    """
ALTER TABLE changes ADD COLUMN photo_size INTEGER;
ALTER TABLE changes ADD COLUMN photo_sha256 BLOB;
CREATE INDEX changes_by_content ON changes (photo_sha256);
CREATE INDEX changes_by_result ON changes (after_hash);
UPDATE changes SET
    photo_size = (SELECT size FROM photos WHERE photos.photo = changes.photo AND photos.state = 'done'),
    photo_sha256 = (SELECT sha256 FROM photos WHERE photos.photo = changes.photo AND photos.state = 'done');
""",
    # To version 3: the steps of a review, which can be undone and done again.
    """
CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, action TEXT NOT NULL, before TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER, undone INTEGER NOT NULL DEFAULT 0, time REAL NOT NULL);
""",
    # To version 4: the root of the library, in at most one row, for a ledger at a place of the user's choice.
    """
CREATE TABLE library (root BLOB NOT NULL);
""",
    # To version 5: the tags of a photo for which nothing had to be written, as its files had all of them.
    """
ALTER TABLE photos ADD COLUMN tags TEXT;
""",
)
"""The statements that lead from each version of the tables to the next; an empty file has version 0."""

VERSION = len(MIGRATIONS)

_BUSY_SECONDS = 60.0
_WITH_ROOT = 4  # version that records the root
_SOME_PHOTOS = "SELECT photo, sha256 FROM photos WHERE state = 'done' LIMIT 256"

INSERT_CHANGE = """
INSERT INTO changes (run, owner, photo, target, state, before_hash, before_mode, before_mtime_ns, after_hash, undo,
    ours, tags, model, time, photo_size, photo_sha256)
VALUES (:run, :owner, :photo, :target, :state, :before_hash, :before_mode, :before_mtime_ns, :after_hash, :undo,
    :ours, :tags, :model, :time, :photo_size, :photo_sha256)
"""
NEWEST = "SELECT * FROM changes WHERE target = ? AND state IN ('done', 'undoing') ORDER BY id DESC LIMIT 1"
BEFORE = "SELECT * FROM changes WHERE target = ? AND id < ? AND state = 'done' ORDER BY id DESC LIMIT 1"
BY_FILE = """
SELECT * FROM changes AS one WHERE photo = ? AND state = 'done' AND id = (
    SELECT max(id) FROM changes AS other WHERE other.photo = one.photo AND other.target = one.target
        AND other.state = 'done')
ORDER BY id DESC
"""
CHANGED_SINCE = """
SELECT run FROM changes WHERE target = ? AND id > ? AND state IN ('done', 'undoing') ORDER BY id DESC LIMIT 1
"""
WHEREABOUTS = """
SELECT one.id, one.photo, one.target, one.after_hash, coalesce(photos.size, one.photo_size), photos.mtime_ns,
    coalesce(photos.sha256, one.photo_sha256)
FROM changes AS one LEFT JOIN photos ON photos.photo = one.photo AND photos.state = 'done'
WHERE one.id > ? AND one.state IN ('done', 'undoing') AND one.id = (
    SELECT max(id) FROM changes AS other WHERE other.target = one.target AND other.state IN ('done', 'undoing'))
ORDER BY one.id LIMIT ?
"""
WROTE = "SELECT * FROM changes WHERE after_hash = ? AND state <> 'writing' ORDER BY id DESC LIMIT 1"
RENAME_KEY = """
UPDATE photos SET key = ? WHERE key = ? AND state = 'done' AND (? = x'' OR photo = ? OR (photo > ? AND photo < ?))
    AND coalesce(tags, '[]') = '[]'
    AND NOT EXISTS (SELECT 1 FROM changes WHERE changes.photo = photos.photo AND changes.state = 'done')
"""


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
        tags: Its tags with their probabilities, as JSON; None if they are those of its last change.
    """

    photo: bytes
    size: int
    mtime_ns: int
    sha256: bytes
    key: str
    state: PhotoState = "done"
    reason: str | None = None
    tags: str | None = None

    @property
    def due_key(self) -> str:
        """What is recorded as `key` while the photo is due: the same options, but no model is called like that."""
        return " " + self.key.rpartition(" ")[2]


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
        photo_size: Size of the photo in bytes after the write; None if unknown.
        photo_sha256: SHA-256 of the photo after the write; None if unknown.
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
    photo_size: int | None = None
    photo_sha256: bytes | None = None

    @property
    def inside(self) -> bool:
        """Whether it wrote into the photo itself."""
        return self.target == self.photo

    def options(self, key: str) -> WriteOptions:
        """Return where it wrote tags.

        Args:
            key: The model and options recorded for its photo: of a rejected tag, the file shows no options.
        """
        flags = WriteOptions.flags_in(key)
        iptc, gps = "iptc" in flags or bool(self.ours.iptc_keywords), "gps" in flags or bool(self.ours.position)
        return WriteOptions(in_place=self.inside, iptc=self.inside and iptc, gps=gps)


@dataclass(frozen=True)
class Whereabouts:
    """Where the ledger believes a written file and its photo to be, and what they contain.

    Attributes:
        photo: The photo's path relative to the root, as bytes.
        target: Path of the written file, likewise.
        after_hash: SHA-256 of what we wrote last.
        size: Size of the photo, None if unknown.
        mtime_ns: Modification time of the photo, None if unknown.
        sha256: SHA-256 of the photo, None if unknown.
    """

    photo: bytes
    target: bytes
    after_hash: bytes
    size: int | None
    mtime_ns: int | None
    sha256: bytes | None


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
        kind: Kind of run: `tag` or `relabel`.
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


CHANGE_FIELDS = tuple(field.name for field in fields(Change))
_PHOTO_FIELDS = tuple(field.name for field in fields(PhotoRow))


def connect(path: Path | None, *, copy: bool = False) -> sqlite3.Connection:
    """Open the database of a ledger.

    Args:
        path: The file; None for one in memory.
        copy: Open a copy that is gone when it is closed, for a file that may not be written.
    """
    # Autocommit: transactions are explicit. The ledger's own lock serialises threads.
    connection = sqlite3.connect(
        "" if copy else path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    if copy and path is not None:
        with reading(path) as source:
            source.backup(connection)
    return connection


def check_ours(connection: sqlite3.Connection, path: Path | None) -> None:
    """Refuse the database of another program with a `LedgerError`, before anything in it is changed."""
    if is_foreign(connection, ("runs", "photos", "claims", "changes", "verdicts")):
        raise LedgerError(f"{path}: this is the database of another program: choose another file")


def use_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Set the journal mode; SQLite itself does not wait for another process that is setting it."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a ledger for reading, also where SQLite cannot make the files that it needs beside it.

    Raises:
        StorageError: It may not be read.
    """
    with ExitStack() as stack:
        try:
            source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
            stack.callback(source.close)
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            # No process has it open, as those files would be there: it can be copied, with what a crash left.
            copied = stack.enter_context(TemporaryFolder("landmarks-ledger-")).path / path.name
            try:
                shutil.copyfile(path, copied)
                log = path.with_name(f"{path.name}-wal")
                if log.is_file():
                    shutil.copyfile(log, copied.with_name(log.name))
            except OSError as error:
                raise StorageError(f"{path}: the ledger cannot be read: change its permissions") from error
            source = sqlite3.connect(copied)
            stack.callback(source.close)
        yield source


def recorded_library(path: Path) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """Return the root that a ledger records, and some of its photos: their paths relative to it, and SHA-256.

    Returns:
        The root, relative to the ledger's folder if it is above it; None if the ledger records none.

    Raises:
        LedgerError: It is damaged or no ledger.
        StorageError: It may not be read.
    """
    try:
        with reading(path) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            root = database.execute("SELECT root FROM library").fetchone() if version >= _WITH_ROOT else None
            photos = database.execute(_SOME_PHOTOS).fetchall() if version else []
            return root and root[0], photos
    except sqlite3.Error as error:
        raise translated(path, error) from error


def photo_of(row: sqlite3.Row) -> PhotoRow:
    """Return a row of the table of photos."""
    return PhotoRow(**{name: row[name] for name in _PHOTO_FIELDS})


def change_of(row: sqlite3.Row) -> Change:
    """Return a row of the table of changes."""
    values = {name: row[name] for name in CHANGE_FIELDS}
    return Change(**values | {"ours": Entries.from_json(values["ours"])})


def translated(path: Path | None, error: sqlite3.Error) -> LedgerError | StorageError:
    """Return the error of the package for an error of SQLite on a ledger."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"{path}: the disk is full: free some space and run the command again")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}:
        return StorageError(f"{path}: the ledger cannot be written here: choose another place for it")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LedgerError(f"{path}: another program keeps the ledger locked: end it and run the command again")
    return LedgerError(f"{path}: the ledger is damaged ({error}): move it away; tags stay where they are")
