"""Validation accuracy of each class by epoch: `classes.csv` of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from landmarks.errors import RunError
from landmarks.files.csv_lines import write_csv

MOST_CLASSES = 2000
"""Above this many classes nothing is written: the file would be larger than what can be learnt from it."""


def add_class_row(path: Path, classes: Sequence[str], epoch: int, accuracies: Sequence[float | None]) -> None:
    """Write the row of an epoch, atomically; rows from this epoch on, of an attempt that was stopped, are dropped.

    Args:
        path: The file.
        classes: Names of the classes.
        epoch: Number of the epoch, from 0.
        accuracies: Accuracy of each class in [0, 1], None for a class without validation images.

    Raises:
        RunError: The file is there, and damaged.
        StorageError: It cannot be written.
    """
    if len(classes) > MOST_CLASSES:
        return
    earlier = _rows(path)[1:] if epoch and path.is_file() else []
    cells = ["" if value is None else f"{value:.4f}" for value in accuracies]
    kept = [row for row in earlier if row[:1] and row[0].isdecimal() and int(row[0]) < epoch]
    write_csv(path, ("epoch", *classes), [*kept, [str(epoch), *cells]])


def read_class_history(path: Path) -> Mapping[str, Sequence[float]]:
    """Return the accuracy of each class that has validation images, by epoch; empty if there is no file.

    Raises:
        RunError: The file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        (_, *classes), *rows = _rows(path)
        columns = list(zip(*(row[1:] for row in rows), strict=True))
        return {
            name: [float(cell) for cell in column]
            for name, column in zip(classes, columns, strict=True)
            if all(column)
        }
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}): remove it") from error


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: damaged ({error}): remove it") from error
