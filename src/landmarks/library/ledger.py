"""The ledger of a library: records what was read, what was written and the previous content, in one SQLite file.

A change is recorded before its file is touched and marked as done afterwards, so if the process is killed, the
next one can tell from the content of the file how far it got. Several processes may share a ledger: each claims
photos before it works on them, and holds a liveness lock that the system releases when it dies. Paths are bytes
relative to the root of the library: names need not be UTF-8, and a library can be moved.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from landmarks.errors import LedgerError, StorageError
from landmarks.files.atomic import storage_errors
from landmarks.files.closing import Closing
from landmarks.files.state import is_remote
from landmarks.library.liveness import Presence
from landmarks.library.records import (
    BEFORE,
    BY_FILE,
    CHANGE_FIELDS,
    CHANGED_SINCE,
    INSERT_CHANGE,
    MIGRATIONS,
    NEWEST,
    RENAME_KEY,
    VERSION,
    WHEREABOUTS,
    Change,
    ChangeState,
    PhotoRow,
    RunRow,
    Verdict,
    Whereabouts,
    change_of,
    check_ours,
    connect,
    photo_of,
    translated,
    use_journal,
)

_PAGE = 64  # rows in memory at a time
_LIGHT_PAGE = 1000  # of rows without content
_LAST_NS = 2**63 - 1  # a file system may know later times than an integer of SQLite, in the year 2262


class Ledger(Closing):
    """An open ledger; use it in a `with` block.

    Args:
        path: The SQLite file, created with its folder if missing; None for a ledger in memory.
        read_only: Leave the file as it is: what is recorded is gone when the ledger is closed.

    Raises:
        LedgerError: The file is damaged, not a ledger, or from a newer version.
        StorageError: It cannot be created or written there.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._closed = False
        self._presence = Presence(None if path is None or read_only else path.parent)
        if path is not None and not read_only:
            with storage_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                way_out = "make it writable" if path.exists() else "choose another place for it"
                raise StorageError(f"{path.parent}: the ledger cannot be written in this folder: {way_out}")
        with self._errors():
            self._connection = connect(path, copy=read_only)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        with self._errors():
            check_ours(self._connection, self._path)
            # The shared memory of a write-ahead log does not work across machines.
            remote = self._path is not None and is_remote(self._path.parent)
            use_journal(self._connection, "TRUNCATE" if remote else "WAL")
            # A change must reach the disk before its file does, even on power failure.
            self._connection.execute("PRAGMA synchronous=FULL")
            with self.transaction():
                version = self.row("PRAGMA user_version")[0]
                for step in MIGRATIONS[version:]:
                    for statement in filter(str.strip, step.split(";")):
                        self._connection.execute(statement)
                if version < VERSION:
                    self._connection.execute(f"PRAGMA user_version={VERSION}")
        if version > VERSION:
            raise LedgerError(f"{self._path}: written by a newer version of landmarks: update the package")

    def close(self) -> None:
        """Release all claims and close the file."""
        with suppress(LedgerError, StorageError):
            self.execute("DELETE FROM claims WHERE owner = ?", self._presence.owner)
        self._closed = True
        self._connection.close()
        self._presence.hide()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block atomically and exclusively among all processes. Blocks may be nested."""
        with self._lock, self._errors():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    # Runs and liveness

    def start_run(self, kind: str, model: str) -> int:
        """Start a run and return its number."""
        row = (kind, model, self._presence.owner, socket.gethostname(), time.time())
        return self.execute("INSERT INTO runs (kind, model, owner, host, started) VALUES (?, ?, ?, ?, ?)", *row)

    def finish_run(self, run: int) -> None:
        """Record that a run has finished."""
        self.execute("UPDATE runs SET finished = ? WHERE id = ?", time.time(), run)

    def runs(self) -> Iterator[RunRow]:
        """Yield the runs, newest first."""
        last = 2**62
        while rows := self.rows(
            "SELECT id, kind, model, host, started, finished, (SELECT count(*) FROM changes WHERE run = runs.id "
            "AND changes.state = 'done') AS standing FROM runs WHERE id < ? ORDER BY id DESC LIMIT ?",
            *(last, _PAGE),
        ):
            yield from (RunRow(*row) for row in rows)
            last = rows[-1]["id"]

    def drop_dead_claims(self) -> None:
        """Release the photos claimed by dead processes."""
        with self.transaction():
            owners = [row[0] for row in self._connection.execute("SELECT DISTINCT owner FROM claims")]
            dead = [(owner,) for owner in owners if not self._presence.is_alive(owner)]
            self._connection.executemany("DELETE FROM claims WHERE owner = ?", dead)

    def claim(self, photo: bytes) -> bool:
        """Claim a photo for this process; return False if another process has it."""
        with self._errors():
            self._presence.show()  # from now on others can see that this process is alive
        with self.transaction():
            row = (photo, self._presence.owner)
            taken = self._connection.execute("INSERT OR IGNORE INTO claims (photo, owner) VALUES (?, ?)", row)
        return taken.rowcount == 1

    def holds(self, photo: bytes) -> bool:
        """Return whether this process has claimed a photo."""
        query = "SELECT 1 FROM claims WHERE photo = ? AND owner = ?"
        return self.row(query, photo, self._presence.owner) is not None

    def release(self, photos: Iterable[bytes]) -> None:
        """Release photos; closing the ledger releases all of them."""
        rows = [(photo, self._presence.owner) for photo in photos]
        if not rows or self._closed:
            return
        with self.transaction():
            self._connection.executemany("DELETE FROM claims WHERE photo = ? AND owner = ?", rows)

    # Photos

    def photo(self, photo: bytes) -> PhotoRow | None:
        """Return the row of a photo, or None."""
        row = self.row("SELECT * FROM photos WHERE photo = ?", photo)
        return None if row is None else photo_of(row)

    def record(self, row: PhotoRow) -> None:
        """Record the state of a photo."""
        mtime_ns = min(row.mtime_ns, _LAST_NS)
        # A reason may name a file whose name is not UTF-8.
        reason = None if row.reason is None else row.reason.encode("utf-8", "backslashreplace").decode()
        values = (row.photo, row.size, mtime_ns, row.sha256, row.key, row.state, reason, time.time(), row.tags)
        self.execute("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)

    def forget(self, photo: bytes) -> None:
        """Remove the row of a photo, so that it is processed again."""
        self.execute("DELETE FROM photos WHERE photo = ?", photo)

    def rename_keys(self, renamed: Callable[[str], str], *, below: bytes = b"") -> None:
        """Rename the keys of photos that are done and have no tags, in a folder or, without one, everywhere."""
        with self.transaction():
            for (key,) in self.rows("SELECT DISTINCT key FROM photos"):
                values = (renamed(key), key, below, below, below + b"/", below + b"0")
                self._connection.execute(RENAME_KEY, values)

    def quarantine(self) -> Iterator[PhotoRow]:
        """Yield the photos that could not be processed, ordered by path."""
        last = b""
        while rows := self.rows(
            "SELECT * FROM photos WHERE state <> 'done' AND photo > ? ORDER BY photo LIMIT ?", last, _PAGE
        ):
            yield from map(photo_of, rows)
            last = rows[-1]["photo"]

    # Changes

    def intend(self, changes: Sequence[Change]) -> list[int]:
        """Record changes before their files are touched; return their row numbers."""
        numbers = []
        with self.transaction():
            for change in changes:
                values = {name: getattr(change, name) for name in CHANGE_FIELDS}
                if change.before_mtime_ns is not None:
                    values["before_mtime_ns"] = min(change.before_mtime_ns, _LAST_NS)
                values |= {"ours": change.ours.to_json(), "owner": self._presence.owner, "time": time.time()}
                cursor = self._connection.execute(INSERT_CHANGE, values)
                numbers.append(int(cursor.lastrowid or 0))
        return numbers

    def set_state(self, change: int, state: ChangeState | None) -> None:
        """Set the state of a change; None deletes it."""
        if state is None:
            self.execute("DELETE FROM changes WHERE id = ?", change)
        else:
            values = (state, self._presence.owner, change)
            self.execute("UPDATE changes SET state = ?, owner = ? WHERE id = ?", *values)

    def newest(self, target: bytes) -> Change | None:
        """Return the last change of a file that is still in place, or None."""
        row = self.row(NEWEST, target)
        return None if row is None else change_of(row)

    def changed_since(self, change: Change) -> int | None:
        """Return the run that last changed the file of a change after it, and is still in place; or None."""
        row = self.row(CHANGED_SINCE, change.target, change.id)
        return None if row is None else row[0]

    def before(self, change: Change) -> Change | None:
        """Return the last change of its file before a change that is still in place, or None."""
        row = self.row(BEFORE, change.target, change.id)
        return None if row is None else change_of(row)

    def of_photo(self, photo: bytes) -> Change | None:
        """Return the last change for a photo that is still in place, whichever file it wrote; or None."""
        return next(iter(self.by_file(photo)), None)

    def by_file(self, photo: bytes) -> list[Change]:
        """Return the last change of each file written for a photo that is still in place, the newest first."""
        return [change_of(row) for row in self.rows(BY_FILE, photo)]

    def tags(self, photo: bytes) -> str | None:
        """Return the tags that a photo has, as JSON; None if none were recorded."""
        if (row := self.photo(photo)) is not None and row.tags is not None:
            return row.tags
        return None if (change := self.of_photo(photo)) is None else change.tags

    def tags_of(self, photo: bytes) -> Iterator[str]:
        """Yield the tags, as JSON, that a photo has and those of all changes for it, newest first."""
        now = self.tags(photo)
        yield from () if now is None else (now,)
        yield from (r[0] for r in self.rows("SELECT tags FROM changes WHERE photo = ? ORDER BY id DESC", photo))

    def standing(self, *, run: int | None = None, below: bytes = b"") -> Iterator[list[Change]]:
        """Yield the changes that are still in place, newest first, in pages that fit in memory.

        Args:
            run: Only changes of this run.
            below: Only changes for photos in this folder, or for this photo; empty for all.
        """
        last = 2**62
        while rows := self.rows(
            "SELECT * FROM changes WHERE id < ? AND state IN ('done', 'undoing') AND (? IS NULL OR run = ?) "
            "AND (? = x'' OR photo = ? OR (photo > ? AND photo < ?)) ORDER BY id DESC LIMIT ?",
            *(last, run, run, below, below, below + b"/", below + b"0", _PAGE),  # 0 follows the slash
        ):
            yield [change_of(row) for row in rows]
            last = rows[-1]["id"]

    def of_step(self, photo: bytes, since: int, until: int | None) -> list[Change]:
        """Return the changes for a photo after one and up to another that are still in place, newest first."""
        rows = self.rows(
            "SELECT * FROM changes WHERE photo = ? AND id > ? AND (? IS NULL OR id <= ?) "
            "AND state IN ('done', 'undoing') ORDER BY id DESC",
            *(photo, since, until, until),
        )
        return [change_of(row) for row in rows]

    def left_open(self) -> list[Change]:
        """Return the changes that dead processes left unfinished."""
        with self.transaction():
            rows = self.rows("SELECT * FROM changes WHERE state IN ('writing', 'undoing')")
            alive = {owner: self._presence.is_alive(owner) for owner in {row["owner"] for row in rows}}
        return [change_of(row) for row in rows if not alive[row["owner"]]]

    # Moves

    def whereabouts(self) -> Iterator[Whereabouts]:
        """Yield where each written file and its photo are believed to be, oldest change first."""
        last = 0
        while rows := self.rows(WHEREABOUTS, last, _LIGHT_PAGE):
            yield from (Whereabouts(*row[1:]) for row in rows)
            last = rows[-1][0]

    def has_content(self, sha256: bytes | None) -> bool:
        """Return whether a standing change wrote this content, or belongs to a photo that has it."""
        row = self.row(
            "SELECT 1 FROM changes WHERE photo_sha256 = ? AND state IN ('done', 'undoing') UNION ALL "
            "SELECT 1 FROM changes WHERE after_hash = ? AND state IN ('done', 'undoing') LIMIT 1",
            *(sha256, sha256),
        )
        return row is not None

    def had_content(self, photo: bytes, sha256: bytes) -> bool:
        """Return whether a photo is known to have had a content."""
        query = "SELECT 1 FROM changes WHERE photo = ? AND ? IN (before_hash, after_hash, photo_sha256) LIMIT 1"
        return self.row(query, photo, sha256) is not None

    # Verdicts

    def judge(self, photo: bytes, sha256: bytes | None, verdict: Verdict) -> None:
        """Record the user's verdict on a tag; the last one counts."""
        with self.transaction():
            # The last one counts, whatever clocks say: they are set back, and those of two computers differ.
            (last,) = self.row("SELECT max(time) FROM verdicts WHERE photo = ? OR sha256 = ?", photo, sha256)
            now = max(time.time(), (last or 0.0) + 1e-6)
            values = (photo, sha256, verdict.name, verdict.verdict, verdict.tag, now)
            self._connection.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?)", values)

    def withdraw(self, photo: bytes, sha256: bytes | None) -> None:
        """Forget the user's verdicts on a photo."""
        self.execute("DELETE FROM verdicts WHERE photo = ? OR sha256 = ?", photo, sha256)

    def verdicts(self, photo: bytes, sha256: bytes | None) -> list[Verdict]:
        """Return the user's verdicts on a photo, found by its path or, after a move, by its content."""
        rows = self.rows(
            "SELECT name, verdict, tag FROM verdicts WHERE photo = ? OR sha256 = ? ORDER BY time", photo, sha256
        )
        return [Verdict(*row) for row in rows]

    def judged_photos(self) -> Iterator[bytes]:
        """Yield the photos with verdicts, ordered by path."""
        last = b""
        while rows := self.rows(
            "SELECT DISTINCT photo FROM verdicts WHERE photo > ? ORDER BY photo LIMIT ?", last, _PAGE
        ):
            yield from (row[0] for row in rows)
            last = rows[-1][0]

    # Other modules of the room

    def row(self, query: str, *values: object) -> Any:
        """Return the first row of a query, or None."""
        with self._lock, self._errors():
            return self._connection.execute(query, values).fetchone()

    def rows(self, query: str, *values: object) -> list[Any]:
        """Return all rows of a query."""
        with self._lock, self._errors():
            return self._connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: object) -> int:
        """Run a statement; return the number of the row that it inserted."""
        with self.transaction():
            return int(self._connection.execute(statement, values).lastrowid or 0)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(self._path, error) from error
