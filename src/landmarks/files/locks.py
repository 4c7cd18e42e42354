"""A lock between processes, released by the operating system when its holder dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landmarks.errors import LandmarksError, StorageError
from landmarks.files.atomic import storage_errors


def take_lock(path: Path, *, wait: float = 0.0) -> sqlite3.Connection:
    """Take a lock and hold it until the connection is closed, from any thread.

    The lock is a write lock on an empty SQLite database, which is not deleted: it works on every system that has
    SQLite, and across containers and machines if the file system supports locks.

    Args:
        path: The lock file; its folder must exist.
        wait: Seconds to wait for another holder.

    Raises:
        TimeoutError: Another process holds it.
        StorageError: The file cannot be created there.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if connection is not None:
            connection.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise TimeoutError(f"{path}: another process holds this lock") from error
        raise StorageError(f"{path}: no permission to write here, or the disk is full") from error
    return connection


@contextmanager
def locked(path: Path, *, wait: float = 0.0, busy: LandmarksError | None = None) -> Iterator[None]:
    """Hold a lock while the block runs; its folder is created if missing.

    Args:
        path: See `take_lock`.
        wait: Likewise.
        busy: Raised if another process holds it, or None for the `TimeoutError`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = take_lock(path, wait=wait)
    except TimeoutError as error:
        if busy is None:
            raise
        raise busy from error
    try:
        yield
    finally:
        connection.close()
