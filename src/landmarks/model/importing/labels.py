"""Reads the label file of a foreign recogniser: text, CSV, JSON, or the labels embedded in a TFLite file.

Empty and repeated labels are refused, because their tags would be indistinguishable.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landmarks.errors import ModelError

_NAMES = ("name", "label", "class", "class_name", "title", "landmark", "display_name")
_NUMBERS = ("id", "index", "number", "class_id", "label_id")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels in the order of the outputs.

    Args:
        path: `.txt` with one label per line, `.csv` or `.tsv` with a header, `.json` with a list or numbered
            entries, or a `.tflite` file with an embedded text file of labels.

    Raises:
        ModelError: The file is unreadable, is not UTF-8, or has empty or repeated labels.
    """
    if path.suffix.lower() == ".tflite":
        content = _carried(path)
    else:
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = (error.strerror or "unreadable").lower()
            raise ModelError(f"{path}: {reason}: name a file of labels with `labels`") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: byte {error.start} is not UTF-8: save the labels as UTF-8") from error
    match path.suffix.lower():
        case ".json":
            labels = _from_json(path, text)
        case ".csv" | ".tsv":
            labels = _from_table(path, text, "\t" if path.suffix.lower() == ".tsv" else ",")
        case _:
            labels = _lines(text)
    return checked_labels(path, labels)


def carried_labels(path: Path) -> tuple[str, ...]:
    """Return the labels embedded in a TFLite file, unchecked; empty if it has none or they are not text."""
    try:
        return tuple(_lines(_carried(path).decode("utf-8-sig")))
    except (ModelError, UnicodeDecodeError):
        return ()


def checked_labels(path: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels with plain spaces; raises `ModelError` if some are empty or repeated, or there are too few."""
    # One spelling of accents, so that names that look alike are alike.
    tidy = [unicodedata.normalize("NFC", " ".join(label.split())) for label in labels]
    for number, label in enumerate(tidy, start=1):
        if not label:
            raise ModelError(f"{path}: label {number} is empty: give every output a name")
        if any(unicodedata.category(character) == "Cc" for character in label):
            raise ModelError(f"{path}: label {number} has a control character: correct the file")
    repeated = [label for label, count in Counter(tidy).items() if count > 1]
    if repeated:
        raise ModelError(
            f"{path}: {repeated[0]!r} names {tidy.count(repeated[0])} outputs: give each its own name"
        )
    if len(tidy) < 2:
        raise ModelError(f"{path}: {len(tidy)} labels are too few: a recogniser needs two or more")
    return tuple(tidy)


def _from_json(path: Path, text: str) -> list[str]:
    try:
        values: Any = json.loads(text, object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({error}): correct it or give the labels as text") from error
    if isinstance(values, dict) and len(values) == 1 and isinstance(next(iter(values.values())), dict | list):
        values = next(iter(values.values()))
    if isinstance(values, dict) and all(isinstance(number, int) for number in values.values()):
        repeated = [number for number, count in Counter(values.values()).items() if count > 1]
        if repeated:
            raise ModelError(f"{path}: the number {repeated[0]} has two labels: number them from 0 without gaps")
        values = {str(number): name for name, number in values.items()}
    if isinstance(values, dict):
        missing = next((str(number) for number in range(len(values)) if str(number) not in values), None)
        if missing is not None:
            raise ModelError(f"{path}: there is no label {missing}: number them from 0 without gaps")
        values = [values[str(number)] for number in range(len(values))]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ModelError(f"{path}: not a list of names: give a list, or numbers with names")
    return list(values)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{repeated!r} is there twice")
    return found


def _from_table(path: Path, text: str, delimiter: str) -> list[str]:
    first = text.partition("\n")[0]
    if first.count(";") > first.count(delimiter):  # as spreadsheets write where the comma is the decimal mark
        delimiter = ";"
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise ModelError(f"{path}: not a table ({error}): correct it or give the labels as text") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    name = next((header.index(column) for column in _NAMES if column in header), None)
    if name is None:
        if any(len(row) != 1 for row in rows):
            raise ModelError(
                f"{path}: no column {', '.join(_NAMES[:3])} in the first line: name the column of labels"
            )
        return [row[0] for row in rows]
    number = next((header.index(column) for column in _NUMBERS if column in header), None)
    try:
        if number is not None:
            found = {int(row[number]): row[name] for row in rows[1:]}
            return [found[place] for place in range(len(rows) - 1)]
        return [row[name] for row in rows[1:]]
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{path}: a row has no name, or the numbers do not run from 0 without gaps") from error


def _lines(text: str) -> list[str]:
    if not text.strip():
        return []
    # Not `splitlines`, which also ends lines at characters that a name may hold.
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").removesuffix("\n").split("\n")


def _carried(path: Path) -> bytes:
    """Return the label file embedded in a TFLite file, which ends with a ZIP archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [name for name in archive.namelist() if name.endswith(".txt")]
            return archive.read(texts[0])
    except (OSError, zipfile.BadZipFile, IndexError) as error:
        raise ModelError(f"{path}: it has no embedded labels: name a file of labels with `labels`") from error
