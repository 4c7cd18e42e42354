"""Temporary folders that a killed process leaves only until the next one makes its own."""

from __future__ import annotations

import shutil
import stat
import time
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from landmarks.errors import StorageError
from landmarks.files.closing import Closing
from landmarks.files.locks import take_lock

_LOCK = ".in-use"
_NEW_SECONDS = 60.0
"""How long a folder without a lock may be one that is being made."""


class TemporaryFolder(Closing):
    """A temporary folder, removed when it is closed, forgotten, or at the exit.

    Those that killed processes of the same user have left are removed first: their locks are free.

    Args:
        prefix: What the names of all folders of this kind begin with.

    Attributes:
        path: The folder, in the system's place for temporary files.

    Raises:
        OSError: It cannot be made.
        StorageError: Its lock cannot be made.
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(mkdtemp(prefix=prefix))
        _remove_left_behind(self.path, prefix)
        try:
            self._lock = take_lock(self.path / _LOCK)
        except BaseException:
            self.path.rmdir()
            raise
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder."""
        self._lock.close()
        self._remove()


def _remove_left_behind(own: Path, prefix: str) -> None:
    for folder in own.parent.glob(f"{prefix}*"):
        with suppress(OSError, StorageError):
            status = folder.lstat()
            # Anybody may make such a folder, or link, in a shared place; only one's own can be trusted.
            mine = stat.S_ISDIR(status.st_mode) and status.st_uid == own.lstat().st_uid
            if mine and time.time() - status.st_mtime > _NEW_SECONDS:
                take_lock(folder / _LOCK).close()
                shutil.rmtree(folder)
