"""Finds the root of a library, the folder with the ledger, without opening the ledger."""

from __future__ import annotations

import os
from pathlib import Path

LEDGER = Path(".landmarks", "ledger.sqlite3")
"""Default path of the ledger, relative to the root of a library."""


def library_root(path: Path) -> Path:
    """Return the root of the library that contains `path`: the nearest folder above with a ledger, else itself."""
    path = absolute(path)
    folder = path if path.is_dir() else path.parent
    for candidate in (folder, *folder.parents):
        if (candidate / LEDGER).is_file():
            return candidate
    return folder


def absolute(path: Path) -> Path:
    """Return an absolute path without resolving links."""
    # Links are kept: photos are known by the names that the user sees.
    return Path(os.path.abspath(path))  # noqa: PTH100
