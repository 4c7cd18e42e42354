"""The table and the queries of an index, on synthetic vectors."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import SearchError
from landmarks.search.index import decode, encode, root_of
from landmarks.search.searcher import alike_groups, expand
from landmarks.search.table import Header, PhotoTable, Row


def unit_rows(count: int, size: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw and raw.strip(b"/.") != b""))
def test_every_file_name_fits_in_a_row(raw: bytes) -> None:
    path = Path(raw.decode("utf-8", "surrogateescape"))
    assert decode(encode(path)) == path
    assert encode(path).isascii()
    assert "'" not in encode(path)


@pytest.mark.parametrize("cells", [0, 6])
def test_the_nearest_are_those_of_an_exact_search(tmp_path: Path, cells: int) -> None:
    vectors, queries = unit_rows(400, 16, 0), unit_rows(7, 16, 1)
    table = PhotoTable.create(str(tmp_path / "index"), Header("m", str(tmp_path), 16))
    table.put([Row(f"{place}.jpg", 1, 1, ("even",) * (place % 2 == 0), row) for place, row in enumerate(vectors)])
    if cells:
        table.partition(cells)
    similar = queries @ vectors.T
    for number, hits in enumerate(table.nearest(queries, 5)):
        assert [int(hit.photo[:-4]) for hit in hits] == np.argsort(-similar[number])[:5].tolist()
        assert [hit.score for hit in hits] == pytest.approx(np.sort(similar[number])[::-1][:5].tolist(), abs=1e-5)
    (hits,) = table.nearest(queries[:1], 5, tag="EVEN")
    assert len(hits) == 5
    assert all(int(hit.photo[:-4]) % 2 == 0 for hit in hits)
    assert table.nearest(queries[:0], 5) == []
    assert [len(hits) for hits in table.nearest(queries, 400, probes=1)] == [400] * 7, "cells that hold too few"
    assert [len(hits) for hits in table.nearest(queries[:1], 200, tag="even", probes=1)] == [200]


def test_an_expanded_query_is_nearer_to_its_neighbours() -> None:
    query, neighbours = unit_rows(1, 8, 0)[0], unit_rows(3, 8, 1)
    scores = neighbours @ query
    moved = expand(query, neighbours, scores, alpha=0)
    expected = query + neighbours.sum(axis=0)
    # A weight of 0 to the power 0 is 1: the plain average of Chum et al.
    np.testing.assert_allclose(moved, expected / np.linalg.norm(expected), atol=1e-6)
    assert expand(query, neighbours, np.zeros(3)) == pytest.approx(query, abs=1e-6)


def test_two_bursts_of_many_photos_that_are_alike_are_one_group(tmp_path: Path) -> None:
    table = PhotoTable.create(str(tmp_path / "index"), Header("m", str(tmp_path), 2))
    first, second = np.float32([1, 0]), np.float32([0.96, 0.28])
    table.put([Row(f"{place}.jpg", 1, 1, (), (first, second)[place % 2]) for place in range(80)])
    assert [len(group) for group in alike_groups(table, 0.9)] == [80]
    assert sorted(len(group) for group in alike_groups(table, 0.97)) == [40, 40]


@pytest.mark.parametrize("other", [Header("n", "/photos", 8), Header("m", "/moved", 8)])
def test_an_index_that_was_rebuilt_for_something_else_is_told(tmp_path: Path, other: Header) -> None:
    place, rows = str(tmp_path / "index"), unit_rows(2, 8, 0)

    def rebuilt(header: Header) -> None:
        PhotoTable.create(place, header).put([Row("a.jpg", 1, 1, ("red",), rows[0])])

    rebuilt(Header("m", "/photos", 8))
    table = PhotoTable(place)
    rebuilt(Header("m", "/photos", 8))
    assert [len(hits) for hits in table.nearest(rows, 1)] == [1, 1]
    rebuilt(other)
    for query in (partial(table.nearest, rows, 1), partial(table.tagged, "red", 1)):
        with pytest.raises(SearchError, match="rebuilt meanwhile with another model or for another folder"):
            query()


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can change users")
def test_an_index_that_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/index"
        table = PhotoTable.create(place, Header("m", folder, 8))
        table.put([Row("a.jpg", 1, 1, (), unit_rows(1, 8, 0)[0])])
        os.seteuid(65534)
        try:
            for read in (partial(table.nearest, unit_rows(1, 8, 0), 1), partial(PhotoTable, place)):
                with pytest.raises(SearchError, match="no permission to read the index"):
                    read()
        finally:
            os.seteuid(0)


def test_an_index_at_an_address_names_its_folder(tmp_path: Path) -> None:
    table = PhotoTable.create(f"file://{tmp_path}/.landmarks/index", Header("m", "/photos", 8))
    assert root_of(table) == Path("/photos")


def test_a_snapshot_does_not_see_what_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landmarks.search.table._PAGE", 10)
    place, rows = str(tmp_path / "index"), unit_rows(40, 8, 0)
    table = PhotoTable.create(place, Header("m", str(tmp_path), 8))
    table.put([Row(f"{number:02d}.jpg", 1, 1, (), row) for number, row in enumerate(rows)])
    pages = table.snapshot().pages()
    seen = list(next(pages)[0])
    writer = PhotoTable(place)
    writer.remove(seen)
    writer.put([Row("new.jpg", 1, 1, (), rows[0])])
    writer.settle()
    seen += [name for names, _ in pages for name in names]
    assert sorted(seen) == [f"{number:02d}.jpg" for number in range(40)]
