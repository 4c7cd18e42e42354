"""The photos that paths name: which files of a folder count as photos, and which are left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from landmarks.errors import InputError

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif"}
)
"""Suffixes, in lower case, that count as photos when a folder is read."""


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
