"""Moves images into quarantine and back, without losing any, whatever happens in between.

`undo.json` in the quarantine lists every move before the first one is made, so a killed run leaves each image in
one of two known places. Images are moved by renaming: their bytes and timestamps do not change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landmarks.errors import DataError, SettingsError
from landmarks.files.atomic import storage_errors, write_json

UNDO_FILE = "undo.json"
_VERSION = 1


@dataclass(frozen=True)
class Move:
    """One image and its place in quarantine."""

    origin: Path
    kept_at: Path


@dataclass(frozen=True)
class MoveResult:
    """The result of one move.

    Attributes:
        path: The place of the image in the data set.
        status: `moved` into quarantine, `restored` from it, or `refused`.
        reason: Why it was refused, else "".
    """

    path: Path
    status: Literal["moved", "restored", "refused"]
    reason: str = ""


def default_quarantine(data: Path) -> Path:
    """Return the folder `DATA.quarantine` next to the data set."""
    whole = data.resolve()
    return whole.with_name(f"{whole.name}.quarantine")


def quarantine(pictures: Iterable[Path], data: Path, folder: Path) -> list[MoveResult]:
    """Move images out of a data set.

    Args:
        pictures: The images, all below `data`.
        data: The data set.
        folder: Where they are moved, under the same relative paths; created if missing. It must be on the same
            disk.

    Returns:
        One result per image, in order. One that cannot be moved stays and does not stop the others.

    Raises:
        SettingsError: `folder` would be taken for a class or split of the data set.
        DataError: The undo file there is damaged or belongs to another data set.
        StorageError: The undo file cannot be written.
    """
    earlier = earlier_moves(data, folder)
    taken = {move.kept_at for move in earlier}
    planned: list[Move] = []
    for picture in dict.fromkeys(pictures):
        place = _free_place(folder / os.path.relpath(picture, data), taken)
        taken.add(place)
        planned.append(Move(picture, place))
    if not planned:
        return []
    _write(folder, data, [*earlier, *planned])
    outcomes = [_rename(move.origin, move.kept_at, move.origin, "moved") for move in planned]
    _settle(folder, data)
    return outcomes


def earlier_moves(data: Path, folder: Path) -> list[Move]:
    """Return the moves whose image is in a quarantine now; arguments and errors as of `quarantine`."""
    _refuse_inside(data, folder)
    return _standing(_read(folder, data)) if (folder / UNDO_FILE).exists() else []


def restore(data: Path, folder: Path) -> list[MoveResult]:
    """Move every image back to where it was; the quarantine is removed when it is empty.

    An image whose old path is taken stays in quarantine: nothing is overwritten. The command can be stopped and
    repeated at any time.

    Args:
        data: The data set.
        folder: Its quarantine.

    Returns:
        One result per image that was in quarantine.

    Raises:
        DataError: There is no undo file, or it is damaged or belongs to another data set.
        StorageError: The undo file cannot be written.
    """
    if not (folder / UNDO_FILE).exists():
        raise DataError(f"{folder}: no {UNDO_FILE} there, so there is nothing to put back: check `quarantine`")
    outcomes = [
        _rename(move.kept_at, move.origin, move.origin, "restored") for move in _standing(_read(folder, data))
    ]
    _settle(folder, data)
    return outcomes


def _refuse_inside(data: Path, folder: Path) -> None:
    with suppress(ValueError):
        inside = folder.resolve().relative_to(data.resolve())
        if not inside.parts or not inside.parts[0].startswith("."):
            raise SettingsError(
                f"`quarantine` {folder}: training would read the pictures there: give a folder outside {data}"
            )


def _standing(moves: list[Move]) -> list[Move]:
    """Return the moves whose image is in quarantine now."""
    return [move for move in moves if os.path.lexists(move.kept_at)]


def _free_place(wanted: Path, taken: set[Path]) -> Path:
    place, number = wanted, 2
    while place in taken or os.path.lexists(place):
        place = wanted.with_name(f"{wanted.stem}~{number}{wanted.suffix}")
        number += 1
    return place


def _rename(source: Path, target: Path, shown: Path, status: Literal["moved", "restored"]) -> MoveResult:
    if os.path.lexists(target):
        return MoveResult(shown, "refused", f"{target} is taken, and nothing is overwritten")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        return MoveResult(shown, "refused", (error.strerror or str(error)).lower())
    return MoveResult(shown, status)


def _read(folder: Path, data: Path) -> list[Move]:
    path = folder / UNDO_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["version"] != _VERSION:
            raise DataError(f"{path}: written by another version of landmarks: use that version")
        moves = [Move(data / move["from"], folder / move["to"]) for move in stored["moves"]]
        owner = Path(stored["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged or not readable: move the pictures back by hand") from error
    if owner != data.resolve():
        raise DataError(f"{path}: this is the quarantine of {owner}: give another `quarantine`")
    return moves


def _write(folder: Path, data: Path, moves: list[Move]) -> None:
    listed = [
        {"from": os.path.relpath(move.origin, data), "to": os.path.relpath(move.kept_at, folder)} for move in moves
    ]
    write_json(folder / UNDO_FILE, {"version": _VERSION, "data": str(data.resolve()), "moves": listed})


def _settle(folder: Path, data: Path) -> None:
    """Update the undo file to the images now in quarantine; after the last one, remove the folder."""
    standing = _standing(_read(folder, data))
    if standing:
        _write(folder, data, standing)
        return
    with storage_errors(folder):
        (folder / UNDO_FILE).unlink()
    for below, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty: something else is there
            Path(below).rmdir()
