"""Temporary folders that a killed process leaves only until the next one makes its own."""

from __future__ import annotations

import glob
import shutil
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from landmarks.errors import LandmarksError, StorageError
from landmarks.files.atomic import storage_errors
from landmarks.files.closing import Closing
from landmarks.files.locks import take_lock

_LOCK = ".in-use"
_NEW_SECONDS = 60.0
"""How long a folder whose lock is free may be one that is being made."""


class TemporaryFolder(Closing):
    """A temporary folder, removed when it is closed, forgotten, or at the exit.

    Those that killed processes of the same user have left are removed first: their locks are free.

    Args:
        prefix: What the names of all folders of this kind begin with.
        within: The folder to make it in, or None for the system's place for temporary files.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be made.
        StorageError: Its lock cannot be made.
    """

    def __init__(self, prefix: str, within: Path | None = None) -> None:
        self.path = Path(mkdtemp(prefix=prefix, dir=within))
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


@contextmanager
def new_folder(target: Path, *, taken: LandmarksError) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an error.

    Args:
        target: The folder to make; its own folder is made if missing.
        taken: Raised if it exists, before the block or, made by somebody else, after it.

    Raises:
        StorageError: A file cannot be written.
    """
    if target.exists():
        raise taken
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(f".{target.name}-new-", target.parent) as temporary:
            made = temporary.path / target.name
            made.mkdir()
            yield made
            if target.exists():
                raise taken
            made.rename(target)


def _remove_left_behind(own: Path, prefix: str) -> None:
    for folder in own.parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(OSError, StorageError):
            status = folder.lstat()
            # Anybody may make such a folder, or link, in a shared place; only one's own can be trusted.
            mine = stat.S_ISDIR(status.st_mode) and status.st_uid == own.lstat().st_uid
            made_here = mine and (folder / _LOCK).exists()  # else it may be anything with such a name
            if made_here and time.time() - status.st_mtime > _NEW_SECONDS:
                take_lock(folder / _LOCK).close()
                shutil.rmtree(folder)
