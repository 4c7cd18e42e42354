"""CSV, written so that every reader gets back the cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from landmarks.files.atomic import write_text


def csv_line(cells: Iterable[object]) -> str:
    r"""Return a line of CSV that ends with `\n`; None is an empty cell."""
    text = io.StringIO()
    # With `\n` alone at the end of a line, Python 3.11 leaves a cell with a carriage return unquoted.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def write_csv(path: Path, header: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Write a table atomically as UTF-8; raises `StorageError` if it cannot be written."""
    write_text(path, csv_line(header) + "".join(map(csv_line, rows)))
