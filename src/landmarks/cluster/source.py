"""The inputs of a job, split into parts: one process works on a part and writes one result file.

`inputs.parquet` lists them, one row group per part, so a process reads only the rows of its part and nobody holds
a list of a hundred million photos. Each photo is a row; for Parquet files that contain photos, each row group is a
row and a separate part.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from landmarks.errors import InputError
from landmarks.files.storage import Storage
from landmarks.files.walker import WalkRules, skipped_as, walk
from landmarks.imaging.photos import OnSkip, photo_rules

INPUTS = "inputs.parquet"
PARQUET_SUFFIX = ".parquet"
_SCHEMA = pa.schema([("path", pa.binary()), ("group", pa.int32())])  # names need not be text


@dataclass(frozen=True)
class Columns:
    """Column names in Parquet files.

    Attributes:
        picture: Column with the bytes of a photo file.
        path: Column with the name of the photo; without it, file and row are used.
    """

    picture: str = "bytes"
    path: str = "path"


@dataclass(frozen=True)
class Inputs:
    """The inputs of a job.

    Attributes:
        table: `inputs.parquet`.
        parts: Number of parts.
        photos: Number of photos.
    """

    table: bytes
    parts: int
    photos: int


def list_inputs(
    source: Storage, columns: Columns, part_size: int, on_skip: OnSkip = lambda _skipped: None
) -> Inputs:
    """List the photos in a folder, or the row groups of its Parquet files.

    Args:
        source: A folder, or one Parquet file.
        columns: Columns of Parquet files.
        part_size: Photos per part; for Parquet files, each row group is a part.
        on_skip: Called with everything that is skipped.

    Raises:
        InputError: There are neither photos nor Parquet files, or both, or the Parquet files lack a column.
    """
    rules = photo_rules()
    rules = replace(rules, suffixes=rules.suffixes | {PARQUET_SUFFIX})
    paths = list(_taken(source, rules, on_skip))
    tables = [path for path in paths if path.lower().endswith(PARQUET_SUFFIX)]
    if not paths:
        raise InputError(f"{source.address}: there are no photos and no Parquet files in it: check the address")
    if 0 < len(tables) < len(paths):
        raise InputError(
            f"{source.address}: there are photos and Parquet files, such as {tables[0]}: keep them apart"
        )
    if tables:
        return _of_tables(source, tables, columns)
    return Inputs(_table_bytes(paths, [-1] * len(paths), part_size), -(-len(paths) // part_size), len(paths))


def _taken(source: Storage, rules: WalkRules, on_skip: OnSkip) -> Iterator[str]:
    """Yield the files that the rules take; a folder of this machine is walked as by all commands."""
    if not source.is_local:
        for file in source.files():
            reason = rules.skips_path(file.path.removeprefix(source.root).lstrip("/") or file.path)
            if reason is None:
                yield file.path
            else:
                on_skip(skipped_as(Path(file.path), reason))
        return
    for found in walk([Path(source.root)], rules):
        if isinstance(found, Path):
            yield str(found)
        elif found.reason == "missing":
            raise InputError(f"{source.address}: {found.message}")
        else:
            on_skip(found)


def _of_tables(source: Storage, tables: list[str], columns: Columns) -> Inputs:
    paths: list[str] = []
    groups: list[int] = []
    photos = 0
    for path in tables:
        with source.system.open(path) as file:
            try:
                opened = pq.ParquetFile(file)
            except pa.ArrowException as error:
                raise InputError(f"{path}: not a Parquet file ({error}): remove it or write it again") from error
            _check_columns(path, opened.schema_arrow, columns)
            photos += opened.metadata.num_rows
            groups += range(opened.num_row_groups)
            paths += [path] * opened.num_row_groups
    return Inputs(_table_bytes(paths, groups, 1), len(paths), photos)


def _check_columns(path: str, schema: Any, columns: Columns) -> None:
    known = ", ".join(schema.names)
    if columns.picture not in schema.names:
        raise InputError(f"{path}: no column {columns.picture!r}: give `column` one of {known}")
    if columns.path not in {Columns.path, *schema.names}:
        raise InputError(f"{path}: no column {columns.path!r}: give `path_column` one of {known}")
    kind = schema.field(columns.picture).type
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise InputError(f"{path}: the column {columns.picture!r} holds {kind}, not photos: give another `column`")


def _table_bytes(paths: list[str], groups: list[int], rows_of_group: int) -> bytes:
    table = pa.table([list(map(os.fsencode, paths)), groups], schema=_SCHEMA)
    content = io.BytesIO()
    pq.write_table(table, content, row_group_size=rows_of_group)
    return content.getvalue()


class PartReader:
    """Reads the photos of parts.

    Args:
        source: Folder or URL of the photos.
        inputs: The open `inputs.parquet`.
        columns: Columns of Parquet files.
        max_bytes: Size of the largest file to read.
    """

    def __init__(self, source: Storage, inputs: Any, columns: Columns, max_bytes: int) -> None:
        self._source = source
        self._inputs = pq.ParquetFile(inputs)
        self._columns = columns
        self._max_bytes = max_bytes

    def photos(self, part: int) -> Iterator[tuple[str, bytes | str]]:
        """Yield name and content of each photo of a part, or the reason as text if it cannot be read."""
        rows = self._inputs.read_row_group(part)
        for raw, group in zip(rows["path"].to_pylist(), rows["group"].to_pylist(), strict=True):
            path = os.fsdecode(raw)
            if group < 0:
                yield _as_text(path), self._content(path)
            else:
                yield from self._of_group(path, group)

    def _content(self, path: str) -> bytes | str:
        try:
            content = bytes(self._source.system.cat_file(path, end=self._max_bytes + 1))
        except FileNotFoundError:
            return "no such file: it was there when the job began"
        except Exception as error:  # noqa: BLE001 - client libraries have types of their own
            with suppress(Exception):
                if self._source.system.size(path) == 0:  # object storage has no range of nothing
                    return b""
            return f"the file cannot be read ({error}): check the rights and the disk"
        if len(content) > self._max_bytes:
            return f"the file has more than the limit of {self._max_bytes / 2**20:.1f} MiB: make it smaller first"
        return content

    def _of_group(self, path: str, group: int) -> Iterator[tuple[str, bytes | str]]:
        with self._source.system.open(path) as file:
            table = pq.ParquetFile(file)
            named = self._columns.path in table.schema_arrow.names
            wanted = [self._columns.picture, *([self._columns.path] if named else [])]
            row = 0
            for batch in table.iter_batches(batch_size=64, row_groups=[group], columns=wanted):
                pictures = batch.column(self._columns.picture).to_pylist()
                names = batch.column(self._columns.path).to_pylist() if named else [None] * len(pictures)
                for picture, name in zip(pictures, names, strict=True):
                    content = picture["bytes"] if isinstance(picture, dict) else picture  # Hugging Face's type
                    given = bytes(content) if content is not None else "there is no picture in this row"
                    yield str(name) if name is not None else f"{_as_text(path)}#{group}.{row}", given
                    row += 1


def _as_text(path: str) -> str:
    """Return a path for the results, which are UTF-8; names need not be."""
    return path.encode(errors="backslashreplace").decode()
