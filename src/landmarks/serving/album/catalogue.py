"""What is known of the photos of a library, in one SQLite file of the user's cache folder.

It only saves time: damaged or deleted, it is made again. So nothing here raises because the file cannot be used.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from landmarks.files.closing import Closing

_VERSION = 2
_TABLES = """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY, photo BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    facts TEXT, line BLOB, state TEXT NOT NULL, verdict TEXT);
CREATE TABLE thumbnails (
    photo BLOB PRIMARY KEY, version TEXT NOT NULL, picture BLOB NOT NULL, bytes INTEGER NOT NULL,
    used REAL NOT NULL);
CREATE INDEX thumbnails_by_use ON thumbnails (used, bytes);
CREATE TABLE answers (
    photo BLOB PRIMARY KEY, version TEXT NOT NULL, model TEXT NOT NULL, answer TEXT NOT NULL, vector BLOB);
CREATE TABLE sessions (digest BLOB PRIMARY KEY, made REAL NOT NULL);
"""
_LAST_NS = 2**63 - 1
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
_TOUCHES = 500  # uses of thumbnails that are noted in one write


@dataclass(slots=True)
class Photo:
    """A photo of a library; the fields up to `verdict` are stored.

    Attributes:
        id: Its number in addresses.
        key: Its path relative to the root, as bytes.
        size: Size in bytes.
        mtime_ns: Time of its last change, in nanoseconds.
        facts: What its camera recorded, as JSON; None before it was read.
        line: Its row, as JSON.
        state: State of its row.
        verdict: Verdict of its row.
        revision: When its row changed last.
        model: What the ledger recorded of the model and options it was tagged with; None if nothing.
        answered: Identity of the model whose answer is stored; None if none is.
        rests: Whether two looks found it the same, so that nobody is still writing it.
    """

    id: int
    key: bytes
    size: int
    mtime_ns: int
    facts: str | None = None
    line: bytes = b""
    state: str = "waiting"
    verdict: str | None = None
    revision: int = 0
    model: str | None = None
    answered: str | None = None
    rests: bool = True

    @property
    def version(self) -> str:
        """A short text that changes with the file."""
        return f"{crc32(b'%b %d %d' % (self.key, self.size, self.mtime_ns)):08x}"

    @property
    def is_readable(self) -> bool:
        """Whether it can be shown, as far as it is known."""
        return self.state != "unreadable"

    @property
    def row(self) -> dict[str, Any]:
        """Its row."""
        row: dict[str, Any] = json.loads(self.line)
        return row


@dataclass(frozen=True)
class Answer:
    """What a network said of a photo.

    Attributes:
        model: Identity of the model.
        answer: The answer, as JSON.
        vector: Its vector, (d,) float16; None if the model has none.
    """

    model: str
    answer: str
    vector: bytes | None


class Catalogue(Closing):
    """The file, open; safe to use from several threads.

    Args:
        path: The file; its folder is created if missing.
        limit: Most bytes of thumbnails to keep.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.RLock()
        self._used: dict[bytes, float] = {}
        self._connection = self._open()
        self._bytes = int((self._one("SELECT total(bytes) FROM thumbnails") or (0,))[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._note_use()
            self._connection.close()

    # Photos

    def photos(self) -> Iterator[Photo]:
        """Yield the photos as they were listed last."""
        for row in self._all("SELECT * FROM photos"):
            yield Photo(*row)

    def put_photos(self, photos: Iterable[Photo]) -> None:
        """Store photos."""
        self._many(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.id,
                    one.key,
                    one.size,
                    min(one.mtime_ns, _LAST_NS),
                    one.facts,
                    one.line,
                    one.state,
                    one.verdict,
                )
                for one in photos
            ],
        )

    def remove_photos(self, keys: Sequence[bytes]) -> None:
        """Forget photos."""
        for table in ("photos", "answers"):
            self._many(f"DELETE FROM {table} WHERE photo = ?", [(key,) for key in keys])  # noqa: S608

    # Answers

    def answer(self, key: bytes, version: str) -> Answer | None:
        """Return the answer for a version of a photo, or None."""
        row = self._one("SELECT model, answer, vector FROM answers WHERE photo = ? AND version = ?", key, version)
        return None if row is None else Answer(*row)

    def put_answers(self, answers: Iterable[tuple[bytes, str, Answer]]) -> None:
        """Store answers, each with the key and version of its photo."""
        self._many(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
            [(key, version, one.model, one.answer, one.vector) for key, version, one in answers],
        )

    def answers(self) -> Iterator[tuple[bytes, str, str, bytes | None]]:
        """Yield key and version of each photo with an answer, the model that gave it, and its vector."""
        yield from self._all("SELECT photo, version, model, vector FROM answers")

    # Thumbnails

    def thumbnail(self, key: bytes, version: str) -> bytes | None:
        """Return the thumbnail of a version of a photo, or None."""
        row = self._one("SELECT picture FROM thumbnails WHERE photo = ? AND version = ?", key, version)
        if row is None:
            return None
        with self._lock:
            self._used[key] = time.time()
            if len(self._used) >= _TOUCHES:
                self._note_use()
        return bytes(row[0])

    def put_thumbnail(self, key: bytes, version: str, picture: bytes) -> None:
        """Store a thumbnail; those not used for the longest time make room for it."""
        with self._lock:
            before = self._one("SELECT bytes FROM thumbnails WHERE photo = ?", key)
            values = (key, version, picture, len(picture), time.time())
            if self._many("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?, ?)", [values]):
                self._bytes += len(picture) - (before[0] if before is not None else 0)
            if self._bytes > self._limit:
                self._make_room()

    def renew(self, key: bytes, before: str, version: str) -> None:
        """Keep what is known of a photo for a new version, which looks the same."""
        for table in ("answers", "thumbnails"):
            statement = f"UPDATE {table} SET version = ? WHERE photo = ? AND version = ?"  # noqa: S608
            self._many(statement, [(version, key, before)])

    # Sessions

    def has_session(self, digest: bytes, since: float) -> bool:
        """Return whether a session was opened after a time."""
        return self._one("SELECT 1 FROM sessions WHERE digest = ? AND made > ?", digest, since) is not None

    def put_session(self, digest: bytes) -> None:
        """Store a session."""
        self._many("INSERT OR REPLACE INTO sessions VALUES (?, ?)", [(digest, time.time())])

    def _make_room(self) -> None:
        """Remove the thumbnails that were not used for the longest time, down to nine tenths of the limit."""
        self._note_use()
        for key, size in self._all("SELECT photo, bytes FROM thumbnails ORDER BY used"):
            if self._bytes <= 0.9 * self._limit:
                break
            self._many("DELETE FROM thumbnails WHERE photo = ?", [(key,)])
            self._bytes -= size

    def _note_use(self) -> None:
        used, self._used = self._used, {}
        self._many("UPDATE thumbnails SET used = ? WHERE photo = ?", [(when, key) for key, when in used.items()])

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._prepared(sqlite3.connect(self._path, timeout=5.0, check_same_thread=False))
        except (sqlite3.Error, OSError):
            return self._anew()

    def _anew(self) -> sqlite3.Connection:
        """Make the file again; in memory if that is impossible."""
        try:
            for end in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            return self._prepared(sqlite3.connect(self._path, timeout=5.0, check_same_thread=False))
        except (sqlite3.Error, OSError):
            return self._prepared(sqlite3.connect(":memory:", check_same_thread=False))

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, _VERSION}:
                raise sqlite3.DatabaseError("another version")
            if version == 0:
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        with suppress(OSError):
            self._path.chmod(0o600)
        return connection

    def _one(self, query: str, *values: object) -> Any:
        return next(iter(self._all(query, *values)), None)

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._recover(error)
                return []

    def _many(self, query: str, rows: list[tuple[object, ...]]) -> bool:
        """Run a statement for rows; return False if they were not stored, as on a full disk."""
        if not rows:
            return True
        with self._lock:
            try:
                with self._connection:
                    self._connection.executemany(query, rows)
            except sqlite3.Error as error:
                self._recover(error)
                return False
        return True

    def _recover(self, error: sqlite3.Error) -> None:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection, self._bytes = self._anew(), 0
