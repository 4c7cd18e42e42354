"""The table of an index: one row per photo, in LanceDB, on disk or in object storage.

Each write makes a new version of the table and readers keep the one they started with, so a search never sees a
partial write. Small tables are searched exactly; from `EXACT_ROWS` photos on, vectors are stored in the cells of
an inverted file, and those in the cells nearest to a query are compared exactly (LanceDB's IVF_FLAT).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat
from numpy.typing import NDArray
from pyarrow import compute

from landmarks.errors import SearchError, StorageError
from landmarks.files.atomic import storage_errors
from landmarks.files.locks import locked
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.embedding_space import Vectors

FORMAT = 2
EXACT_ROWS = 50_000
"""Tables with fewer rows are searched exactly: that takes milliseconds."""

PROBES = 16
"""Cells of the inverted file to probe; 8 find everything on synthetic vectors (benchmarks/results/ann.md)."""

_TABLE = "photos"
_VECTOR = "vector"
_PAGE = 10_000
_KEPT = timedelta(hours=1)  # how long a reader may continue with an old version


@dataclass(frozen=True)
class Header:
    """How an index was built.

    Attributes:
        model: Identity of the model and of the space of its vectors.
        root: Absolute path of the indexed folder; rows have paths relative to it.
        dimensions: Dimensions of the vectors.
        inside: Whether it was made in that folder, and so moves with it; True for older ones, which do not tell.
    """

    model: str
    root: str
    dimensions: int
    inside: bool = True


@dataclass(frozen=True)
class Row:
    """One photo.

    Attributes:
        photo: Its path relative to the root, percent-encoded.
        size: Size in bytes.
        mtime_ns: Time of its last change, in nanoseconds.
        tags: Its searchable names, in lower case.
        vector: (d,), a unit vector.
        tagged_by: Identity of the model, with all that its tags depend on.
    """

    photo: str
    size: int
    mtime_ns: int
    tags: Sequence[str]
    vector: Vectors
    tagged_by: str = ""


@dataclass(frozen=True, eq=False)
class Hit:
    """A row found by a query.

    Attributes:
        photo: As in `Row`.
        score: Inner product with the query, -1 to 1; 1 without a query photo.
        tags: As in `Row`.
        vector: (d,), or None if it was not requested.
    """

    photo: str
    score: float
    tags: tuple[str, ...]
    vector: Vectors | None = None


class PhotoTable:
    """An open table.

    Args:
        place: A folder, or a URL of object storage such as `s3://bucket/index`.

    Attributes:
        header: How the index was built.

    Raises:
        SearchError: There is no index, or it is damaged.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        if not exists(place):
            raise SearchError(f"{place}: there is no index: run landmarks index FOLDER first")
        with _errors(place, reads=True):
            # Each query checks for a newer version first, so a service sees what was indexed since.
            connection = lancedb.connect(place, read_consistency_interval=timedelta(0))
            self._table = connection.open_table(_TABLE)
            stored = self._table.schema.metadata or {}
        self.header = _header(place, stored)

    @classmethod
    def create(cls, place: str, header: Header) -> PhotoTable:
        """Create an empty table, replacing an existing one.

        Raises:
            StorageError: It cannot be written there.
        """
        # Metadata is text in UTF-8, which the path of a folder need not be.
        root = quote(os.fsencode(header.root), safe="/")
        metadata = {"format": str(FORMAT), "model": header.model, "quoted_root": root}
        metadata |= {"dimensions": str(header.dimensions), "inside": str(header.inside)}
        schema = _schema(header.dimensions).with_metadata(metadata)
        if is_local(place):
            with storage_errors(Path(place)):
                Path(place).mkdir(parents=True, exist_ok=True)
        with _errors(place):
            connection: Any = lancedb.connect(place)
            connection.drop_table(_TABLE, ignore_missing=True)  # even one that is too damaged to be opened
            connection.create_table(_TABLE, schema=schema)
        return cls(place)

    def __len__(self) -> int:
        with _errors(self.place, reads=True):
            return int(self._table.count_rows())

    def outdated(self, tagged_by: str) -> int:
        """Return the number of photos that the model of this identity did not tag."""
        with _errors(self.place, reads=True):
            return int(self._table.count_rows(f"tagged_by != {_quoted(tagged_by)}"))

    def snapshot(self) -> PhotoTable:
        """Return the current version of the table, unaffected by later writes."""
        fixed = PhotoTable(self.place)
        self._require(fixed.header)
        with _errors(self.place, reads=True):
            fixed._table.checkout(fixed._table.version)
        return fixed

    def known(self, tagged_by: str) -> dict[str, tuple[int, int, bool]]:
        """Return size and modification time of each photo, and whether the model of this identity tagged it."""
        with _errors(self.place, reads=True):
            rows = self._table.search().select(["photo", "size", "mtime_ns", "tagged_by"]).limit(None).to_arrow()
        same = compute.equal(rows["tagged_by"], tagged_by)
        columns = (column.to_pylist() for column in (rows["photo"], rows["size"], rows["mtime_ns"], same))
        return {photo: (size, mtime, known) for photo, size, mtime, known in zip(*columns, strict=True)}

    def put(self, rows: Sequence[Row]) -> None:
        """Add or replace photos, in one version."""
        columns = {
            "photo": [row.photo for row in rows],
            "size": [row.size for row in rows],
            "mtime_ns": [row.mtime_ns for row in rows],
            "tags": [list(row.tags) for row in rows],
            _VECTOR: _fixed(np.stack([row.vector for row in rows])),
            "tagged_by": [row.tagged_by for row in rows],
        }
        batch = pa.table(columns, schema=_schema(self.header.dimensions))
        with _errors(self.place):
            merge = self._table.merge_insert("photo").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(batch)

    def remove(self, photos: Sequence[str]) -> None:
        """Remove photos."""
        with _errors(self.place):
            for start in range(0, len(photos), _PAGE):
                listed = ", ".join(map(_quoted, photos[start : start + _PAGE]))
                self._table.delete(f"photo IN ({listed})")

    def settle(self) -> None:
        """Compact fragments and add new rows to the cells, creating the cells if the table is large enough."""
        with _errors(self.place):
            self._table.optimize(cleanup_older_than=_KEPT)
            rows = self._table.count_rows()
            if rows >= EXACT_ROWS and not self._table.list_indices():
                self.partition(round(math.sqrt(rows)))

    def partition(self, cells: int) -> None:
        """Sort the vectors into an inverted file with this number of cells."""
        with _errors(self.place):
            config = IvfFlat(distance_type="dot", num_partitions=cells)
            self._table.create_index(_VECTOR, config=config, replace=True)

    def nearest(
        self,
        queries: Vectors,
        count: int,
        *,
        tag: str | None = None,
        vectors: bool = False,
        probes: int = PROBES,
    ) -> list[list[Hit]]:
        """Find the photos nearest to each query, nearest first.

        Args:
            queries: (Q, d), unit vectors. Many at once are several times faster than one by one.
            count: Photos per query, at least 1.
            tag: Only photos with this tag; None for all.
            vectors: Include the vectors in the hits.
            probes: Number of cells to probe; the others follow if these hold too few photos.

        Raises:
            SearchError: The index cannot be read, or was rebuilt for something else since it was opened.
        """
        if len(queries) == 0:
            return []
        with _errors(self.place, reads=True):
            search: Any = self._table.search(queries, vector_column_name=_VECTOR)
            search = search.distance_type("dot").nprobes(probes).limit(count)
            if tag is not None:
                search = search.where(_has(tag))
            columns = ["photo", "tags", "_distance", *([_VECTOR] if vectors else [])]
            found = self._rows(search.select(columns))
            if len(found) < count * len(queries) and self._table.list_indices():
                # All cells are not asked for at once: that makes many queries several times slower.
                found = self._rows(search.maximum_nprobes(0))
        # A single query gets no query number.
        numbered = "query_index" in found.schema.names
        numbers = found["query_index"].to_numpy() if numbered else np.zeros(len(found), dtype=np.int32)
        hits = _hits(found, 1 - found["_distance"].to_numpy())
        grouped: list[list[Hit]] = [[] for _ in range(len(queries))]
        for number, hit in zip(numbers.tolist(), hits, strict=True):
            grouped[number].append(hit)
        return [sorted(group, key=lambda hit: -hit.score) for group in grouped]

    def tagged(self, tag: str, count: int) -> list[Hit]:
        """Return photos with a tag, in no particular order; raises like `nearest`."""
        with _errors(self.place, reads=True):
            found = self._rows(self._table.search().where(_has(tag)).limit(count).select(["photo", "tags"]))
        return _hits(found, np.ones(len(found)))

    def _rows(self, search: Any) -> Any:
        """Return what a search finds, unless the table has been replaced by one for something else meanwhile."""
        found = search.to_arrow()
        self._require(_header(self.place, found.schema.metadata or {}))
        return found

    def _require(self, header: Header) -> None:
        if header != self.header:
            changed = "rebuilt meanwhile with another model or for another folder"
            raise SearchError(f"{self.place}: {changed}: restart what searches it")

    def pages(self) -> Iterator[tuple[list[str], Vectors]]:
        """Yield all photos with their vectors, in pages."""
        with _errors(self.place, reads=True):
            for start in range(0, self._table.count_rows(), _PAGE):
                search = self._table.search().select(["photo", _VECTOR]).limit(_PAGE).offset(start)
                found = search.to_arrow()
                yield found["photo"].to_pylist(), _matrix(found)


_REBUILD = "run landmarks index again with `rebuild`"


def is_local(place: str) -> bool:
    """Return whether a place is a local folder."""
    return "://" not in place


def exists(place: str) -> bool:
    """Return whether there is an index.

    Raises:
        SearchError: The object storage cannot be reached.
    """
    with _errors(place, reads=True):
        if is_local(place):
            return (Path(place) / f"{_TABLE}.lance").is_dir()
        names: list[str] = lancedb.connect(place).list_tables().tables
    return _TABLE in names


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Lock out other writers; the system releases the lock when the process dies.

    There is no lock in object storage: let only one machine at a time build an index there.

    Raises:
        SearchError: Another process is writing.
    """
    if not is_local(place):
        yield
        return
    busy = SearchError(f"{place}: another process is building this index: wait until it is done")
    with locked(Path(place) / "writing", busy=busy):
        yield


@contextmanager
def _errors(place: str, *, reads: bool = False) -> Iterator[None]:
    """Translate errors of LanceDB, which raises these three types."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        if "No space left" in text:
            raise StorageError(f"{place}: the disk is full: free some space and run the command again") from error
        if reads and "ermission denied" in text:
            raise SearchError(f"{place}: no permission to read the index: change its permissions") from error
        if "ermission denied" in text or "ead-only" in text:
            raise StorageError(f"{place}: no permission to write here: choose another `place`") from error
        raise SearchError(f"{place}: the index is damaged or out of reach ({text[:120]}): {_REBUILD}") from error


def _header(place: str, stored: dict[bytes, bytes]) -> Header:
    """Return what is stored with a table; raises a `SearchError` if that is not an index of this version."""
    try:
        if int(stored[b"format"]) != FORMAT:
            raise SearchError(f"{place}: made by another version of landmarks: {_REBUILD}")
        quoted = stored.get(b"quoted_root")
        older = stored[b"root"].decode() if quoted is None else ""
        root = older or os.fsdecode(unquote_to_bytes(quoted or b""))
        dimensions, inside = int(stored[b"dimensions"]), stored.get(b"inside") != b"False"
        return Header(stored[b"model"].decode(), root, dimensions, inside)
    except (KeyError, ValueError) as error:
        raise SearchError(f"{place}: not an index of landmarks, or damaged: {_REBUILD}") from error


def _schema(dimensions: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("photo", pa.string()),
            pa.field("size", pa.int64()),
            pa.field("mtime_ns", pa.int64()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field(_VECTOR, pa.list_(pa.float32(), dimensions)),
            pa.field("tagged_by", pa.string()),
        ]
    )


def _fixed(vectors: Vectors) -> Any:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _matrix(found: Any) -> Vectors:
    column = found[_VECTOR].combine_chunks()
    values: Vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(found), -1)
    return values


def _hits(found: Any, scores: NDArray[np.floating[Any]]) -> list[Hit]:
    if len(found) == 0:
        return []
    vectors = _matrix(found) if _VECTOR in found.schema.names else [None] * len(found)
    columns = (found["photo"].to_pylist(), scores.tolist(), found["tags"].to_pylist(), vectors)
    return [Hit(photo, score, tuple(tags), vector) for photo, score, tags, vector in zip(*columns, strict=True)]


def _has(tag: str) -> str:
    """Return the condition for photos with a tag; a landmark is found by any of its names."""
    place = Gazetteer.bundled().find(tag)
    names = {tag.casefold(), *([place.name.casefold()] if place is not None else [])}
    return f"array_has_any(tags, [{', '.join(map(_quoted, sorted(names)))}])"


def _quoted(text: str) -> str:
    """Write text as a literal of SQL."""
    return "'{}'".format(text.replace("'", "''"))
