"""Tables of pictures: CSV or JSON Lines with the columns path and label and, if there are splits, split.

Each row is checked: one that cannot be used is left out, counted and told, and stops no other row.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landmarks.errors import DataError, counted
from landmarks.imaging.photos import SPLIT_NAMES, Split, split_named
from landmarks.training.data.cache import resolved
from landmarks.training.data.listing import ClassPictures
from landmarks.training.runs.pictures import unpacked_name

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "class_name", "landmark", "landmark_id", "category"),
    "split": ("split", "set", "subset"),
    "source": ("source", "collection"),
}
"""Names of the columns, in lower case; the first that a table has counts. The last two may be missing."""

DELIMITERS = ",;\t|"

Reason = Literal["no label", "no path", "no such file", "unknown split", "listed before", "two labels"]


@dataclass(frozen=True)
class Row:
    """One picture of a table.

    Attributes:
        where: Its place in the table, for messages: `line 7`.
        path: The picture, or None if the row has none.
        label: Its class, empty if it has none.
        split: Its split as written, empty for training.
        source: Its source, empty if unknown.
    """

    where: str
    path: Path | None
    label: str
    split: str = ""
    source: str = ""


def is_table_file(path: Path) -> bool:
    """Return whether a path is a CSV or JSON Lines table by its name; it need not exist."""
    return path.suffix.lower() in CSV_SUFFIXES | JSON_SUFFIXES and not os.path.isdir(path)  # noqa: PTH112


def list_table(table: Path) -> dict[Split, ClassPictures]:
    """List the pictures of a CSV or JSON Lines table by split.

    Relative paths are relative to the table. Commas, semicolons, tabs and bars separate columns of CSV; a line of
    JSON Lines is an object with the columns as keys.

    Raises:
        DataError: The table is missing, not UTF-8, lacks a column, or none of its rows can be used.
    """
    return group_rows(table, read_rows(table))


def read_rows(table: Path) -> list[Row]:
    """Read the rows of a table without checking them; raises `DataError` as `list_table` does."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{table}: no such file: check the spelling") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 (byte {error.start + 1}): save it in UTF-8") from error
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({(error.strerror or '').lower()}): check it") from error
    return list((_json_rows if table.suffix.lower() in JSON_SUFFIXES else _csv_rows)(table, text))


def _csv_rows(table: Path, text: str) -> Iterator[Row]:
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = next(rows, [])
        columns = columns_of(table, names)
        for cells in rows:
            if any(cells):
                yield _row(f"line {rows.line_num}", table.parent, dict(zip(names, cells, strict=False)), columns)
    except csv.Error as error:
        raise DataError(f"{table}: not a CSV table ({error}): write it again") from error


def _json_rows(table: Path, text: str) -> Iterator[Row]:
    records: dict[str, Mapping[str, object]] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which splits at U+2028 in a name too
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{table}, line {number}: not JSON ({error}): write one object per line") from error
        if not isinstance(record, dict):
            raise DataError(f"{table}, line {number}: not a JSON object: write one with the keys path and label")
        records[f"line {number}"] = record
    columns = columns_of(table, dict.fromkeys(name for record in records.values() for name in record))
    for where, record in records.items():
        yield _row(where, table.parent, record, columns)


def columns_of(table: Path, names: Iterable[str], known: Mapping[str, Sequence[str]] = COLUMNS) -> dict[str, str]:
    """Return the name that a table has for each known column.

    Args:
        table: The table, for messages.
        names: Its columns.
        known: Names of each column, in lower case.

    Raises:
        DataError: Path or label is missing.
    """
    given = {name.strip().lower(): name for name in names}
    found = {
        column: given[name]
        for column, usual in known.items()
        for name in [next((name for name in usual if name in given), None)]
        if name is not None
    }
    missing = [known[column][0] for column in ("path", "label") if column not in found]
    if missing:
        shown = ", ".join(given)[:100] or "nothing"
        raise DataError(f"{table}: no column {missing[0]} ({shown}): name one {missing[0]}")
    return found


def text_of(value: object) -> str:
    """Return a value of a table as text; empty if there is none, or several."""
    if isinstance(value, float):  # pandas writes NaN for no value, and 7.0 for 7 where some have none
        return "" if math.isnan(value) else f"{value:.0f}" if value.is_integer() else str(value)
    if value is None or isinstance(value, list | dict):
        return ""
    return (value.decode("utf-8") if isinstance(value, bytes) else str(value)).strip()


def _row(where: str, folder: Path, values: Mapping[str, object], columns: Mapping[str, str]) -> Row:
    texts = {column: text_of(values.get(name)) for column, name in columns.items()}
    path = folder / texts["path"] if texts["path"] else None
    return Row(where, path, texts["label"], texts.get("split", ""), texts.get("source", ""))


def group_rows(table: Path, rows: Iterable[Row]) -> dict[Split, ClassPictures]:
    """Check rows and group their pictures by split and class.

    A row without a split is for training. A picture that is listed twice counts once, however its path is spelt;
    one with two labels is left out altogether.

    Args:
        table: The table, for messages.
        rows: Its rows.

    Raises:
        DataError: There is no row, or none can be used.
    """
    left_out: list[tuple[str, Reason, str]] = []
    kept: dict[str, tuple[Path, Split, Row]] = {}
    conflicts: set[str] = set()
    checked = [(row, split, _refused(row, split)) for row in rows for split in [_split_of(row.split)]]
    places = resolved(row.path for row, _, reason in checked if row.path is not None and reason is None)
    for row, split, reason in checked:
        if row.path is None or split is None or reason is not None:
            left_out.append((row.where, reason or "no path", str(row.path or "")))
            continue
        place = next(places)
        if place not in kept:
            kept[place] = (row.path, split, row)
            continue
        differs = kept[place][2].label != row.label
        left_out.append((row.where, "two labels" if differs else "listed before", str(row.path)))
        conflicts |= {place} if differs else set()
    for place in sorted(conflicts):
        path, _, row = kept.pop(place)
        left_out.append((row.where, "two labels", str(path)))
    counts = Counter(reason for _, reason, _ in left_out)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    if not kept:
        why = f"none of its {len(left_out)} rows can be used ({told})" if left_out else "there is no row in it"
        raise DataError(f"{table}: {why}: give paths relative to the table, and labels")
    notes = (f"{table}: left out {counted(len(left_out), 'row')} ({told})",) if left_out else ()
    each = tuple(f"{table}, {where}: left out: {reason}: {path}" for where, reason, path in left_out)
    return _by_split(table, kept.values(), notes, each)


def _by_split(
    table: Path, kept: Iterable[tuple[Path, Split, Row]], notes: tuple[str, ...], skipped: tuple[str, ...]
) -> dict[Split, ClassPictures]:
    pictures: dict[Split, dict[str, list[Path]]] = {}
    sources: dict[Path, str] = {}
    for path, split, row in kept:
        pictures.setdefault(split, {}).setdefault(row.label, []).append(path)
        if row.source:
            sources[path] = row.source
    found: dict[Split, ClassPictures] = {}
    for split in SPLIT_NAMES:
        if split in pictures:
            ordered = {name: sorted(paths, key=_rank) for name, paths in sorted(pictures[split].items())}
            found[split] = ClassPictures(table, ordered, (), notes, skipped, sources, split)
            notes, skipped = (), ()  # told once
    return found


def _rank(path: Path) -> Path:
    """Return what the pictures of a class are sorted by: the same order, and so the same split, with any cache.

    Absolute, so that it does not depend on how the table and its paths are spelt.
    """
    return unpacked_name(path) or Path(os.path.abspath(path))  # noqa: PTH100 - without ".." too


def _split_of(text: str) -> Split | None:
    """Return the split that a table names; training if it names none, None for an unknown name."""
    return split_named(text) if text else "train"


def _refused(row: Row, split: Split | None) -> Reason | None:
    if row.path is None:
        return "no path"
    if not row.label:
        return "no label"
    if split is None:
        return "unknown split"
    try:
        return None if row.path.is_file() else "no such file"
    except (OSError, ValueError):  # a name too long, or with a null byte
        return "no such file"
