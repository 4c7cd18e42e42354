"""Atomic file writes."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from landmarks.errors import StorageError

_TEMPORARY = re.compile(r"\.(?P<stem>.{1,40})-[0-9a-f]{8}(?P<suffix>\.[^.]+)?", re.DOTALL)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    A reader sees the old file or the new one, never a partial one. If the block raises, the temporary file is
    removed and `path` is left unchanged.

    Args:
        path: The file to write. Its folder is created if missing.

    Yields:
        The temporary path, on the same file system, with the same suffix as `path`.

    Raises:
        StorageError: The file cannot be written (disk full, read-only, no permission).
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}"
        try:
            # Made inside the block, so that not even Ctrl-C at this very moment leaves it behind.
            temporary.touch(exist_ok=False)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def is_temporary(path: Path, target: Path | None = None) -> bool:
    """Return whether a file has the name of a temporary one of `atomic_path`, which a killed process leaves.

    Args:
        path: The file.
        target: The path that it was to replace; by default any in its folder.
    """
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or target is None:
        return found is not None
    return (found["stem"], found["suffix"] or "") == (target.stem[:40], target.suffix)


def remove_temporaries(folder: Path, *, unchanged_for: float = 0.0) -> None:
    """Remove what killed processes left half-written below a folder.

    Args:
        folder: The folder; nobody else may be writing to it unless `unchanged_for` tells their files apart.
        unchanged_for: Seconds since the last change of a file, below which it stays.
    """
    for path in folder.rglob(".*"):
        if is_temporary(path):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= unchanged_for:
                    path.unlink()


@contextmanager
def new_folders(path: Path) -> Iterator[None]:
    """Remove the folders that the block made for `path`, itself included, if they are empty at its end."""
    made = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # not empty, as after a success
                folder.rmdir()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate an operating-system error on writing `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space and run the command again",
            errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
            errno.EROFS: "the file system is read-only: choose another place",
            errno.EACCES: "no permission to write here: choose another place or change the permissions",
            errno.EPERM: "no permission to write here: choose another place or change the permissions",
            errno.EEXIST: "a file exists where a folder is needed: choose another place",
            errno.ENOTDIR: "a file exists where a folder is needed: choose another place",
            errno.EISDIR: "a folder exists where the file belongs: choose another place",
            errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:
            if type(error) is not OSError or error.errno is None:
                raise  # of a network, a process or a library; or a file that was to be read is missing
            reason = (
                f"cannot be written ({os.strerror(error.errno).lower()}): check the disk, or choose another place"
            )
        raise StorageError(f"{path}: {reason}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; raises `StorageError` if it cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    r"""Write a UTF-8 text file atomically; raises `StorageError` if it cannot be written.

    Undecodable bytes of an old file name, which UTF-8 cannot represent, are escaped: `caf\udce9.jpg`. In JSON this
    is an escape sequence, so it is read back unchanged.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON; raises `StorageError` if it cannot be written."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
