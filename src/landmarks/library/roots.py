"""Finds the root of a library, the folder that its ledger is about, and the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from landmarks.errors import InputError, SettingsError
from landmarks.files.checksums import sha256_file
from landmarks.files.state import keeps_state, state_of
from landmarks.files.walker import Apart, Skipped, WalkRules, walk

if TYPE_CHECKING:
    from landmarks.library.ledger import Ledger

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
    return next((above for above in _upwards(folder) if find_ledger(above, state) is not None), folder)


def root_of_ledger(ledger: Path, path: Path, *, writing: bool = False) -> Path:
    """Return the root of the library whose changes a ledger at a place of the user's choice records.

    One that records no root yet, because it is new or of an old version, is about the library that contains `path`
    and the photos that it knows. One whose root is gone, because the library was moved, likewise.

    Args:
        ledger: The ledger; it need not exist.
        path: A photo or folder of the library.
        writing: Whether something will be recorded, for which no root is guessed.

    Raises:
        InputError: `path` is not in the library.
        LedgerError: The ledger is damaged.
        StorageError: It may not be read.
    """
    from landmarks.library.records import recorded_library  # noqa: PLC0415 - only ledgers need the database

    ledger, path = absolute(ledger), absolute(path)
    recorded, photos = recorded_library(ledger) if os.path.isfile(ledger) else (None, [])  # noqa: PTH113
    root = None if recorded is None else absolute(ledger.parent / os.fsdecode(recorded))
    if root is not None and os.path.isdir(root):  # noqa: PTH112 - False if forbidden
        if path.is_relative_to(root) or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            return root
        raise InputError(
            f"{path}: not in {root}, whose changes {ledger} records: name a path in there or give another `ledger`"
        )
    folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112
    for candidate in _upwards(folder):
        if any(_is_at(candidate / os.fsdecode(photo), sha256) for photo, sha256 in photos):
            return candidate
    if root is not None or (photos and writing):
        where = root or "a folder"
        raise InputError(
            f"{path}: {ledger} records the changes of {where}, which is not found: bring it back, or give another "
            "`ledger`"
        )
    return library_root(path)


def require_one(ledger: Path | None, state: Path | None) -> None:
    """Raise a `SettingsError` if both the ledger of one library and the folder of all ledgers are given."""
    if ledger is not None and state is not None:
        raise SettingsError("`ledger` and `state` cannot be given together: choose one")


def keep_root(ledger: Ledger, place: Path, root: Path) -> None:
    """Record the root of a library in its ledger.

    Args:
        ledger: The ledger.
        place: Its file; if that is in the library, both can be moved together.
        root: The root.
    """
    folder = absolute(place).parent
    kept = os.fsencode(os.path.relpath(root, folder) if folder.is_relative_to(root) else root)
    if ledger.row("SELECT 1 FROM library WHERE root = ?", kept) is None:
        with ledger.transaction():
            ledger.execute("DELETE FROM library")
            ledger.execute("INSERT INTO library (root) VALUES (?)", kept)


def may_write(ledger: Path) -> bool:
    """Return whether a ledger that exists may be written."""
    return os.access(ledger.parent, os.W_OK) and os.access(ledger, os.W_OK)


def _upwards(folder: Path) -> Iterable[Path]:
    """Return a folder and those above it, first as they are called, then where its links lead."""
    real = Path(os.path.realpath(folder))
    return dict.fromkeys((folder, *folder.parents, real, *real.parents))


def _is_at(photo: Path, sha256: bytes) -> bool:
    # Cameras give the same names again and again, so a name alone shows nothing.
    try:
        return bytes.fromhex(sha256_file(photo)) == sha256
    except OSError:
        return False


def find_ledger(root: Path, state: Path | None = None) -> Path | None:
    """Return the existing ledger of a folder: in it, or in the user's folder for state; None if there is none."""
    inside, outside = root / LEDGER, state_of(root, state) / LEDGER.name
    places = (outside,) if state is not None else (inside, outside)
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - False if forbidden


def other_libraries(state: Path | None = None, above: Path | None = None) -> Apart:
    """Return the rule for walks that leave out folders with a ledger of their own.

    Args:
        state: Folder of all ledgers, if they are not stored with the photos.
        above: The folder in whose walk the walked one was left out.
    """
    return Apart(lambda folder: find_ledger(absolute(folder), state) is not None, above)


def libraries_below(folder: Path, state: Path | None = None) -> Iterator[Path]:
    """Yield the folders below a folder that have a ledger of their own, each before those in it."""
    rules = WalkRules(frozenset(), apart=other_libraries(state))
    for found in walk([folder], rules):
        if isinstance(found, Skipped) and found.reason == "apart":
            yield found.path
            yield from libraries_below(found.path, state)


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
