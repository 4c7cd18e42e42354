"""Files written whole or not at all, their checksums, and the photos below a folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from landmarks.errors import InputError, StorageError

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif"}
)
"""Suffixes, in lower case, that count as photos when a folder is read."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the new one, never a part. When the block raises, the temporary file is
    removed and `path` is left as it was.

    Args:
        path: The file to write. Its folder is made when missing.

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


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate the operating system's refusal to write `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space and run the command again",
            errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
            errno.EROFS: "the file system is read-only: choose another place",
            errno.EACCES: "no permission to write here: choose another place or change the permissions",
            errno.EPERM: "no permission to write here: choose another place or change the permissions",
            errno.EEXIST: "a file stands where a folder is needed: choose another place",
            errno.ENOTDIR: "a file stands where a folder is needed: choose another place",
            errno.EISDIR: "a folder stands where the file belongs: choose another place",
            errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:
            raise
        raise StorageError(f"{path}: {reason}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises `StorageError` when it cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    r"""Write a UTF-8 text file whole or not at all; raises `StorageError` when it cannot be written.

    What UTF-8 cannot hold, the odd bytes of an old file name, is spelt out: `caf\udce9.jpg`. In JSON this is an
    escape, so it is read back as it was.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; raises `StorageError` when it cannot be written."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """List the photos that `paths` name: files as given, folders searched below in sorted order.

    Hidden files and folders inside a folder are left out, and links to folders are not followed, so a loop of
    links cannot trap the search. A file named by itself is taken whatever its suffix.

    Args:
        paths: Files and folders.

    Returns:
        Each photo once, in the order of `paths`.

    Raises:
        InputError: A path does not exist, or a folder cannot be read.
    """
    found: dict[Path, None] = {}
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise InputError(f"{path}: cannot be reached: check the spelling and the permissions") from error
        if is_folder:
            found.update(dict.fromkeys(_photos_below(path)))
        elif exists:
            found[path] = None
        else:
            raise InputError(f"{path}: no such file or folder: check the spelling")
    return list(found)


def _photos_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read: change its permissions") from error

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in PHOTO_SUFFIXES:
                yield path
