"""Signs of life: a process shows others that it runs, in a way that no crash can leave standing."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from landmarks.errors import StorageError
from landmarks.files.locks import take_lock


class Presence:
    """One process at work in a folder, and its view of the others.

    The sign is a lock (see `landmarks.files.locks`), which the system drops when the process dies.

    Args:
        folder: Where the signs lie; None shows none, for a ledger that nobody shares.

    Attributes:
        owner: Name of this process among all that ever worked here.
    """

    def __init__(self, folder: Path | None) -> None:
        self.owner = uuid.uuid4().hex
        self._folder = folder
        self._lock: sqlite3.Connection | None = None

    def show(self) -> None:
        """Set the sign, once."""
        if self._folder is not None and self._lock is None:
            self._lock = take_lock(self._sign(self._folder, self.owner))

    def hide(self) -> None:
        """Take the sign away."""
        if self._folder is not None and self._lock is not None:
            self._lock.close()
            self._lock = None
            self._sign(self._folder, self.owner).unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Tell whether the process of this name still runs."""
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
