"""Finds the root of a library, the folder that its ledger is about, and the ledger, without opening it."""

from __future__ import annotations

import os
from pathlib import Path

from landmarks.files.state import keeps_state, state_of

LEDGER = Path(".landmarks", "ledger.sqlite3")
"""Usual path of the ledger, relative to the root of a library."""


def library_root(path: Path, state: Path | None = None) -> Path:
    """Return the root of the library that contains `path`: the nearest folder above with a ledger, else itself.

    Args:
        path: A photo or folder.
        state: Folder of all ledgers, if they are not stored with the photos.
    """
    path = absolute(path)
    folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 - False if forbidden
    for candidate in (folder, *folder.parents):
        if find_ledger(candidate, state) is not None:
            return candidate
    return folder


def find_ledger(root: Path, state: Path | None = None) -> Path | None:
    """Return the existing ledger of a folder: in it, or in the user's folder for state; None if there is none."""
    inside, outside = root / LEDGER, state_of(root, state) / LEDGER.name
    places = (outside,) if state is not None else (inside, outside)
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - False if forbidden


def ledger_of(root: Path, state: Path | None = None) -> Path:
    """Return where the ledger of a folder is or will be.

    A new one is stored in the folder, but with the user if the folder is on a network drive or may not be written.
    """
    found = find_ledger(root, state)
    if found is not None:
        return found
    if state is None and keeps_state(root):
        return root / LEDGER
    return state_of(root, state) / LEDGER.name


def absolute(path: Path) -> Path:
    """Return an absolute path without resolving links."""
    # Links are kept: photos are known by the names that the user sees.
    return Path(os.path.abspath(path))  # noqa: PTH100
