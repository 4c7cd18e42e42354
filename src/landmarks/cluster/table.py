"""Writes the results of a finished job as one Lance table, for search with LanceDB (extra: search).

The table is written from the result files, not by the tagging processes. Lance shows a table only when it is
complete: with Ray Data's `Dataset.write_lance` a stopped job would lose all its work, while result files are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq

from landmarks.cluster.part import SCHEMA
from landmarks.cluster.plan import TABLE, Plan
from landmarks.errors import InputError, StorageError
from landmarks.files.storage import Storage

_ROWS = 1024  # of a batch, in memory at a time


def write_table(plan: Plan, photos: int) -> None:
    """Write the table of a finished job, unless it exists.

    It has the columns of the result files. Embeddings have a fixed length, as search requires; without embeddings
    the column is left out. An incomplete table is rewritten.

    Args:
        plan: The job.
        photos: Number of photos in it.

    Raises:
        InputError: There is another table with this name.
        StorageError: The table cannot be written.
    """
    out = Storage.at(plan.out)
    parts = sorted(name for name in out.names() if name.startswith("part-"))
    with _errors(plan.out):
        connection: Any = lancedb.connect(plan.out)
        there = _open(connection)
        if there is not None and not {"path", "tags", "error"} <= set(there.schema.names):
            raise InputError(f"{plan.out}: its table {TABLE!r} is of something else: move it away")
        if there is not None and there.count_rows() == photos:
            return
        out.remove(f"{TABLE}.lance")
        schema = _schema(out, parts if plan.embeddings else [])
        rows = pa.RecordBatchReader.from_batches(schema, _batches(out, parts, schema))
        # An unreadable photo has no embedding, which only the last argument allows.
        connection.create_table(TABLE, rows, schema=schema, on_bad_vectors="null")


def _open(connection: Any) -> Any | None:
    """Return the table, or None if it does not exist or is incomplete."""
    try:
        return connection.open_table(TABLE)
    except (ValueError, RuntimeError, OSError):
        return None


def _schema(out: Storage, parts: list[str]) -> Any:
    """Return the schema, with the length of the embeddings taken from the first one in the parts."""
    place = SCHEMA.get_field_index("embedding")
    for part in parts:
        with out.system.open(out.inside(part)) as file:
            column = pq.read_table(file, columns=["embedding"])["embedding"]
        length = next((len(value) for value in column.drop_null()), None)
        if length is not None:
            return SCHEMA.set(place, pa.field("embedding", pa.list_(pa.float16(), length)))
    return SCHEMA.remove(place)


def _batches(out: Storage, parts: list[str], schema: Any) -> Iterator[Any]:
    for part in parts:
        with out.system.open(out.inside(part)) as file:
            for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=schema.names):
                yield batch.cast(schema)


@contextmanager
def _errors(place: str) -> Iterator[None]:
    """Translate errors of LanceDB, which raises these three types."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise StorageError(
            f"{place}: the Lance table cannot be written ({reason}): fix this and run the command again; the "
            "Parquet files are complete"
        ) from error
