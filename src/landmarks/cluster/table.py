"""The results of a finished job as one Lance table, for search by LanceDB (extra: search).

The table is written from the files of results, not by the processes that tag. Lance shows a table when all of it
is there: with `Dataset.write_lance` of Ray Data a job that was stopped would have lost all it had done, while each
file of results stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq

from landmarks.cluster.part import SCHEMA
from landmarks.cluster.plan import Plan
from landmarks.cluster.storage import Storage
from landmarks.errors import InputError, StorageError

TABLE = "tagged"
"""Name of the table; it lies in the folder `tagged.lance` beside the files of results."""

_ROWS = 1024  # of a batch, in memory at a time


def write_table(plan: Plan, photos: int) -> None:
    """Write the table of a job whose parts are all done, unless it is there already.

    It has the columns of the files of results. Embeddings have a fixed length, as search needs it; where there are
    none, the column is left out. A table that an earlier start has not finished is written anew.

    Args:
        plan: The job.
        photos: How many photos it has.

    Raises:
        InputError: A table of something else has its name.
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
        # A photo that cannot be read has no embedding; without the last argument it could not be in the table.
        connection.create_table(TABLE, rows, schema=schema, on_bad_vectors="null")


def _open(connection: Any) -> Any | None:
    """Return the table, or None where there is none, or one whose writing has not come to its end."""
    try:
        return connection.open_table(TABLE)
    except (ValueError, RuntimeError, OSError):
        return None


def _schema(out: Storage, parts: list[str]) -> Any:
    """Return the schema with the length of the first embedding in the parts, which is that of all."""
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
    """Say in one sentence what LanceDB says in many; it raises these three."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise StorageError(
            f"{place}: the Lance table cannot be written ({reason}): mend this and run the command again; the "
            "Parquet files are complete"
        ) from error
