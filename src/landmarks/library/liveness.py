"""Signs of life: a process shows others that it runs, in a way that no crash can leave standing."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path


class Presence:
    """One process at work in a folder, and its view of the others.

    The sign is a lock on an empty SQLite database: it works on every system that has SQLite, other containers and
    machines see it too where the file system has locks, and the system drops it when the process dies.

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
            self._lock = sqlite3.connect(
                self._sign(self._folder, self.owner), isolation_level=None, check_same_thread=False
            )
            self._lock.execute("BEGIN EXCLUSIVE")

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
        connection = sqlite3.connect(sign, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        finally:
            connection.close()
        sign.unlink(missing_ok=True)
        return False

    @staticmethod
    def _sign(folder: Path, owner: str) -> Path:
        return folder / f"running-{owner}"
