"""Where a library begins: the folder with the ledger. Known without opening the ledger."""

from __future__ import annotations

import os
from pathlib import Path

LEDGER = Path(".landmarks", "ledger.sqlite3")
"""Where the ledger lies below the root of a library, unless another place is named."""


def library_root(path: Path) -> Path:
    """Return the root of the library that holds `path`: the nearest folder above with a ledger, else itself."""
    path = absolute(path)
    folder = path if path.is_dir() else path.parent
    for candidate in (folder, *folder.parents):
        if (candidate / LEDGER).is_file():
            return candidate
    return folder


def absolute(path: Path) -> Path:
    """Return a path from the root of the file system, links kept."""
    # Links stay: their photos are known by the names that the user sees.
    return Path(os.path.abspath(path))  # noqa: PTH100
