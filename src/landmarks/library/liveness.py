"""Liveness locks: a process shows others that it is running, without leaving a trace if it crashes."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from landmarks.errors import StorageError
from landmarks.files.locks import take_lock


class Presence:
    """The liveness of one process in a folder, and its view of the others.

    It holds a lock (see `landmarks.files.locks`), which the system releases when the process dies.

    Args:
        folder: Folder of the lock files; None for no locks, if nobody shares the ledger.

    Attributes:
        owner: Unique name of this process.
    """

    def __init__(self, folder: Path | None) -> None:
        self.owner = uuid.uuid4().hex
        self._folder = folder
        self._lock: sqlite3.Connection | None = None

    def show(self) -> None:
        """Take the lock, once."""
        if self._folder is not None and self._lock is None:
            self._lock = take_lock(self._sign(self._folder, self.owner))

    def hide(self) -> None:
        """Release the lock."""
        if self._folder is not None and self._lock is not None:
            self._lock.close()
            self._lock = None
            self._sign(self._folder, self.owner).unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Return whether the process with this name is still running."""
        if owner == self.owner:
            return True
        if self._folder is None or not (sign := self._sign(self._folder, owner)).exists():
            return False
        try:
            take_lock(sign).close()
        except (TimeoutError, StorageError):
            return True
        sign.unlink(missing_ok=True)
        return False

    @staticmethod
    def _sign(folder: Path, owner: str) -> Path:
        return folder / f"running-{owner}"
