"""What `landmarks undo`, `reject` and `confirm` share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from landmarks.errors import InputError
from landmarks.library.batch import Outcome
from landmarks.library.library import LEDGER, Library, library_root


def open_library(path: Path, ledger: Path | None) -> Library:
    """Open the library that `path` lies in.

    Raises:
        InputError: There is none.
    """
    root = library_root(path)
    if not (ledger or root / LEDGER).is_file():
        raise InputError(f"{path}: nothing was ever written here by landmarks tag --write: name another folder")
    return Library(root, ledger=ledger)


def show_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Say what a verdict changed."""
    for outcome in outcomes:
        typer.echo(outcome.diff if outcome.diff is not None else f"{outcome.path}: nothing to change")
