"""The inputs of a job, split into parts: one process works on a part and writes one result file.

`inputs.parquet` lists them, one row group per part, so a process reads only the rows of its part and nobody holds
a list of a hundred million photos. Each photo is a row; for Parquet files that contain photos, each row group is a
row and a separate part.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from landmarks.errors import InputError
from landmarks.files.storage import Storage
from landmarks.imaging.photos import photo_rules

INPUTS = "inputs.parquet"
PARQUET_SUFFIX = ".parquet"
_SCHEMA = pa.schema([("path", pa.string()), ("group", pa.int32())])


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


def list_inputs(source: Storage, columns: Columns, part_size: int) -> Inputs:
    """List the photos in a folder, or the row groups of its Parquet files.

    Args:
        source: A folder, or one Parquet file.
        columns: Columns of Parquet files.
        part_size: Photos per part; for Parquet files, each row group is a part.

    Raises:
        InputError: There are neither photos nor Parquet files, or those lack the column of the photos.
    """
    paths = [file.path for file in source.files()]
    tables = [path for path in paths if path.lower().endswith(PARQUET_SUFFIX)]
    if tables:
        return _of_tables(source, tables, columns)
    rules = photo_rules()
    photos = [path for path in paths if rules.takes(path.removeprefix(source.root).lstrip("/") or path)]
    if not photos:
        raise InputError(f"{source.address}: there are no photos and no Parquet files in it: check the address")
    rows = pa.table([photos, [-1] * len(photos)], schema=_SCHEMA)
    return Inputs(_table_bytes(rows, part_size), -(-len(photos) // part_size), len(photos))


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
            if columns.picture not in opened.schema_arrow.names:
                known = ", ".join(opened.schema_arrow.names)
                raise InputError(f"{path}: no column {columns.picture!r}: give `column` one of {known}")
            photos += opened.metadata.num_rows
            groups += range(opened.num_row_groups)
            paths += [path] * opened.num_row_groups
    return Inputs(_table_bytes(pa.table([paths, groups], schema=_SCHEMA), 1), len(paths), photos)


def _table_bytes(table: Any, rows_of_group: int) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, row_group_size=rows_of_group)
    return content.getvalue()


class PartReader:
    """Reads the photos of parts.

    Args:
        source: Folder or URL of the photos.
        inputs: The open `inputs.parquet`.
        columns: Columns of Parquet files.
    """

    def __init__(self, source: Storage, inputs: Any, columns: Columns) -> None:
        self._source = source
        self._inputs = pq.ParquetFile(inputs)
        self._columns = columns

    def photos(self, part: int) -> Iterator[tuple[str, bytes | str]]:
        """Yield name and content of each photo of a part, or the reason as text if it cannot be read."""
        rows = self._inputs.read_row_group(part)
        for path, group in zip(rows["path"].to_pylist(), rows["group"].to_pylist(), strict=True):
            if group < 0:
                yield path, self._content(path)
            else:
                yield from self._of_group(path, group)

    def _content(self, path: str) -> bytes | str:
        try:
            return bytes(self._source.system.cat_file(path))
        except FileNotFoundError:
            return "no such file: it was there when the job began"
        except OSError as error:
            return f"the file cannot be read ({error}): check the rights and the disk"

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
                    given = bytes(picture) if picture is not None else "there is no picture in this row"
                    yield str(name) if name is not None else f"{path}#{group}.{row}", given
                    row += 1
