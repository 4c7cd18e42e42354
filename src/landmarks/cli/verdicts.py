"""Shared parts of `landmarks undo`, `reject` and `confirm`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from landmarks.cli.output import print_json, print_text
from landmarks.errors import InputError
from landmarks.files.walker import unreached
from landmarks.library.batch import Outcome
from landmarks.library.library import Library
from landmarks.library.roots import (
    find_ledger,
    libraries_below,
    library_root,
    may_write,
    require_one,
    root_of_ledger,
)


def open_library(
    path: Path, ledger: Path | None, state: Path | None, *, must_exist: bool = True, looking: bool = False
) -> Library:
    """Open the library that contains `path`; `looking`: nothing is written, so its ledger need not be writable.

    Raises:
        InputError: There is none, it is not that of `ledger`, or the path does not exist.
        SettingsError: Both `ledger` and `state` are given.
    """
    require_one(ledger, state)
    root = library_root(path, state) if ledger is None else root_of_ledger(ledger, path)
    ledger = ledger or find_ledger(root, state)
    known = ledger is not None and ledger.is_file()
    missing = unreached(path)
    if missing is not None and (must_exist or not known):
        raise InputError(f"{path}: {missing.message}")
    if ledger is None or not known:
        raise InputError(f"{path}: landmarks tag --write never wrote here: name another folder")
    return Library(root, ledger=ledger, read_only=looking and not may_write(ledger))


def notes_on(photo: Path, outcome: Outcome) -> Iterator[str]:
    """Yield what is to be told of a photo besides its tags: what was removed by hand, or did not fit."""
    if outcome.rejected:
        names = ", ".join(outcome.rejected)
        yield f"{photo}: {names}: removed by hand, so rejected: landmarks confirm brings it back"
    if outcome.too_long:
        names = ", ".join(outcome.too_long)
        yield f"{photo}: {names}: over the 64 bytes of an IPTC keyword, so it is only among those of XMP"


def places_to_open(path: Path, ledger: Path | None, state: Path | None, *, alone: bool = False) -> list[Path]:
    """Return `path` and the libraries of their own below it, each to be opened by itself.

    Args:
        path: A library, a folder in one, or a photo; left out if only folders below it have a ledger.
        ledger: The ledger of one library, so that those below are left out, which is reported.
        state: Folder of all ledgers.
        alone: Leave out those below in any case.
    """
    inner = list(libraries_below(path, state)) if os.path.isdir(path) else []  # noqa: PTH112 - False if forbidden
    if inner and (alone or ledger is not None):
        click.echo(
            f"left out, as libraries of their own: {', '.join(map(str, inner))}: name each by itself", err=True
        )
        inner = []
    known = find_ledger(library_root(path, state), state) is not None
    return inner if inner and not known else [path, *inner]


def show_outcomes(photo: Path, outcomes: Iterable[Outcome], *, jsonl: bool) -> None:
    """Print the changes of a verdict on a photo, and where that is now if it has been moved."""
    outcomes = list(outcomes)
    if not outcomes and not jsonl:
        print_text(f"{photo}: nothing is written for it; the next landmarks tag --write heeds the verdict")
    for outcome in outcomes:
        if unreached(photo) is not None:
            print_text(f"{photo}: moved to {outcome.path}", err=True)
        for note in notes_on(outcome.path, outcome):
            print_text(note, err=True)
        if jsonl:
            print_json({"path": str(outcome.path), "status": outcome.status, "diff": outcome.diff})
        else:
            print_text(outcome.diff if outcome.diff is not None else f"{outcome.path}: nothing to change")
