"""Jobs, their images and their results in a SQLite file, so that they survive a restart.

The content of an image is deleted as soon as it has a result, and overwritten on the disk.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmarks.errors import SettingsError
from landmarks.files.databases import is_foreign
from landmarks.files.locks import take_lock

_VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, model TEXT, created REAL NOT NULL, finished REAL
);
CREATE TABLE images (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, number INTEGER NOT NULL, file TEXT, content BLOB,
  result TEXT, failed INTEGER NOT NULL DEFAULT 0, taken INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, number)
);
"""
# Results are many, and what is still to be done few; a file of an earlier version gets it when it is opened.
_UNFINISHED = "CREATE INDEX IF NOT EXISTS unfinished ON images (job) WHERE result IS NULL"


@dataclass(frozen=True)
class Job:
    """The state of a job.

    Attributes:
        id: Its random name.
        model: Name of the model asked for, or None.
        created: Unix time.
        finished: Unix time of its last result, or None.
        images: Number of images.
        done: Number of images with a result.
        failed: Number of images whose result is an error.
    """

    id: str
    model: str | None
    created: float
    finished: float | None
    images: int
    done: int
    failed: int


@dataclass(frozen=True)
class NewImage:
    """An image of a new job: its name, and its content, or the result of one that cannot be analysed."""

    file: str | None
    content: bytes | None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Item:
    """An image to analyse: its job, the job's owner and model, its number and name in the job, and its content."""

    job: str
    owner: str
    model: str | None
    number: int
    file: str | None
    content: bytes


class JobStore:
    """The file of jobs; it belongs to one process, and to one thread at a time.

    Args:
        path: The file; it is created if missing, and only its owner may read it.

    Raises:
        SettingsError: Its folder is missing, another service uses it, or it is not a file of jobs of this version.
        StorageError: It cannot be created there.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise SettingsError(f"`path` {path}: there is no folder {path.parent}: make it first")
        _check(path)
        try:
            self._lock = take_lock(path.with_name(f"{path.name}.lock"))
        except TimeoutError as error:
            raise SettingsError(
                f"`path` {path}: another service keeps its jobs there: choose another file"
            ) from error
        try:
            self._database = _open(path)
        except (OSError, sqlite3.Error) as error:
            self._lock.close()
            raise _unusable(path, error) from error
        self._line: dict[str, deque[str]] = {}  # owners in turn, and the jobs of each
        for owner, job in self._database.execute("SELECT owner, id FROM jobs WHERE finished IS NULL"):
            self._line.setdefault(owner, deque()).append(job)

    def close(self) -> None:
        """Close the file; unfinished jobs go on when it is opened again."""
        self._database.close()
        self._lock.close()

    def add(self, owner: str, model: str | None, images: Iterable[NewImage]) -> str:
        """Store a job with its images, all or none (also if reading one fails), and return its ID.

        At least one of them must be there to be analysed.
        """
        job = secrets.token_urlsafe(16)
        with self._database as database:
            database.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, NULL)", (job, owner, model, time.time()))
            database.executemany(
                "INSERT INTO images (job, number, file, content, result, failed, taken) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?5 IS NOT NULL, ?5 IS NOT NULL)",
                ((job, number, each.file, each.content, _json(each.result)) for number, each in enumerate(images)),
            )
        self._line.setdefault(owner, deque()).append(job)
        return job

    def find(self, job: str, owner: str) -> Job | None:
        """Return a job of an owner, or None."""
        row = self._database.execute(
            "SELECT id, model, created, finished, COUNT(*), COUNT(result), SUM(failed) FROM jobs "
            "JOIN images ON job = id WHERE id = ? AND owner = ? GROUP BY id",
            (job, owner),
        ).fetchone()
        return None if row is None else Job(*row)

    def results(self, job: str, start: int, limit: int) -> tuple[list[str], int | None]:
        """Return results of a job as JSON, each with its `number`, in the order of its images, without a gap.

        Args:
            job: Its ID.
            start: Number of the first image.
            limit: Maximum number of results.

        Returns:
            The results up to the first image without one, and the number of the image to go on with; None after
            the last.
        """
        rows = self._database.execute(
            "SELECT number, result FROM images WHERE job = ? AND number >= ? ORDER BY number LIMIT ?",
            (job, start, limit + 1),
        )
        results: list[str] = []
        for number, result in rows:
            if result is None or len(results) == limit:
                return results, number
            results.append(f'{result[:-1]}, "number": {number}}}')  # parsed, a thousand would hold up everybody
        return results, None

    def take(self) -> Item | None:
        """Return the next image, or None; the owners take turns, and so do the jobs of each."""
        while self._line:
            owner, jobs = next(iter(self._line.items()))
            with self._database as database:
                row = database.execute(
                    "SELECT job, owner, model, number, file, content FROM images JOIN jobs ON job = id "
                    "WHERE job = ? AND result IS NULL AND NOT taken ORDER BY images.rowid LIMIT 1",
                    (jobs[0],),
                ).fetchone()
                item = None if row is None else Item(*row)
                if item is not None:
                    self._mark(item, 1)
            self._line[owner] = self._line.pop(owner)  # now the last one
            if item is not None:
                jobs.rotate(-1)
                return item
            jobs.popleft()  # nothing waits in it any more
            if not jobs:
                del self._line[owner]
        return None

    def give_back(self, item: Item) -> None:
        """Put an image back that was taken and not analysed."""
        with self._database:
            self._mark(item, 0)
        jobs = self._line.setdefault(item.owner, deque())
        if item.job not in jobs:
            jobs.append(item.job)

    def _mark(self, item: Item, taken: int) -> None:
        self._database.execute(
            "UPDATE images SET taken = ? WHERE job = ? AND number = ?", (taken, item.job, item.number)
        )

    def finish(self, item: Item, result: dict[str, Any], *, failed: bool) -> bool:
        """Store a result and delete the image; return False for a job that was deleted meanwhile."""
        with self._database as database:
            stored = database.execute(
                "UPDATE images SET content = NULL, result = ?, failed = ? WHERE job = ? AND number = ?",
                (_json(result), failed, item.job, item.number),
            ).rowcount
            database.execute(
                "UPDATE jobs SET finished = ? WHERE id = ? AND NOT EXISTS "
                "(SELECT 1 FROM images WHERE job = id AND result IS NULL)",
                (time.time(), item.job),
            )
        return stored > 0

    def delete(self, job: str, owner: str) -> bool:
        """Delete a job of an owner; return whether there was one."""
        with self._database as database:
            gone = database.execute("DELETE FROM jobs WHERE id = ? AND owner = ?", (job, owner)).rowcount > 0
        self._tidy()
        return gone

    def expire(self, before: float) -> int:
        """Delete the jobs that were finished before a Unix time; return how many."""
        with self._database as database:
            count = database.execute("DELETE FROM jobs WHERE finished < ?", (before,)).rowcount
        self._tidy()
        return count

    def waiting(self) -> int:
        """Return the number of images without a result."""
        return self._number("SELECT COUNT(*) FROM images WHERE result IS NULL")

    def size(self) -> int:
        """Return the bytes that images and results take; what was deleted is free for others."""
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def size_of(self, owner: str) -> int:
        """Return the bytes of the images and results of one owner."""
        return self._number(
            "SELECT COALESCE(SUM(COALESCE(LENGTH(content), LENGTH(CAST(result AS BLOB)))), 0) "
            "FROM images JOIN jobs ON job = id WHERE owner = ?",
            owner,
        )

    def _number(self, question: str, *values: str) -> int:
        (number,) = self._database.execute(question, values).fetchone()
        return int(number)

    def _tidy(self) -> None:
        """Shorten the write-ahead log, which would keep deleted images."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _json(result: dict[str, Any] | None) -> str | None:
    return None if result is None else json.dumps(result, ensure_ascii=False)


def _check(path: Path) -> None:
    """Refuse a file that is not one of jobs, before anything is made or changed."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as database:
            foreign = is_foreign(database, ("jobs", "images"))
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    if foreign:
        raise SettingsError(f"`path` {path}: this is the database of another program: choose another file")


def _unusable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(f"`path` {path}: this is no file of jobs, or it cannot be written: {error}")


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for ending in ("", "-wal", "-shm"):  # an older file may be open to others, and so may what a crash left
        file = path.with_name(path.name + ending)
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "secure_delete = ON", "foreign_keys = ON"):
            with closing(database.execute(f"PRAGMA {pragma}")) as answer:
                answer.fetchall()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} is newer than this program")
        if version == 0:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        with database:
            database.execute(_UNFINISHED)
            database.execute("UPDATE images SET taken = 0 WHERE result IS NULL AND taken = 1")
    except sqlite3.Error:
        database.close()
        raise
    return database
