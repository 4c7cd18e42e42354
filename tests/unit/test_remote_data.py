"""Data sets by URL: the copy holds what is at the address, and nothing is fetched twice."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import InputError, StorageError
from landmarks.files.paths import is_url
from landmarks.training.data.remote import LocalCopy, local_copy

ADDRESS = "memory://bucket/photos"


@pytest.fixture(autouse=True)
def bucket() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def put(system: MemoryFileSystem, name: str, content: bytes) -> None:
    system.pipe_file(f"/bucket/photos/{name}", content)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts(copy: LocalCopy) -> tuple[int, int, int]:
    return copy.copied, copy.unchanged, copy.removed


NAMES = st.sampled_from(["a.jpg", "b.jpg", "train/x/a.jpg", "train/x/b.jpg", "train/y/a b.jpg", "test/ü/é.png"])


@given(st.lists(st.dictionaries(NAMES, st.binary(max_size=3)).filter(bool), min_size=1, max_size=4))
def test_the_copy_is_what_is_there_whatever_was_there_before(states: list[dict[str, bytes]]) -> None:
    system = fsspec.filesystem("memory")
    with TemporaryDirectory() as cache:
        before: dict[str, bytes] = {}
        for state in states:
            for name in before.keys() - state.keys():
                system.rm_file(f"/bucket/photos/{name}")
            for name, content in state.items():
                if before.get(name) != content:
                    put(system, name, content)
            copy = local_copy(ADDRESS, Path(cache))
            assert copy.path.name == "photos"
            assert content_of(copy.path) == state
            same = sum(before.get(name) == content for name, content in state.items())
            assert counts(copy) == (len(state) - same, same, len(before.keys() - state.keys()))
            before = state
        system.store.clear()


def test_a_changed_file_of_the_same_size_and_a_spoilt_copy_are_fetched_again(
    bucket: MemoryFileSystem, tmp_path: Path
) -> None:
    put(bucket, "a.jpg", b"old")
    put(bucket, "b.jpg", b"b")
    first = local_copy(ADDRESS, tmp_path)
    put(bucket, "a.jpg", b"new")
    (first.path / "b.jpg").unlink()
    assert counts(local_copy(ADDRESS, tmp_path)) == (2, 0, 0)
    assert content_of(first.path) == {"a.jpg": b"new", "b.jpg": b"b"}
    (tmp_path / "remote").joinpath(first.path.parent.name, "copied.json").write_text("{")
    assert counts(local_copy(ADDRESS, tmp_path)) == (2, 0, 0)


def test_an_interrupted_copy_goes_on(
    bucket: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        put(bucket, f"{number:02d}.jpg", b"x")
    whole = MemoryFileSystem.get_file

    def cut(self: MemoryFileSystem, path: str, target: str) -> None:
        if path.endswith("40.jpg"):
            Path(target).write_bytes(b"")
            raise ConnectionResetError("the connection was reset")
        whole(self, path, target)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", cut)
        with pytest.raises(InputError, match=r"40\.jpg: cannot be read \(the connection was reset\): check"):
            local_copy(ADDRESS, tmp_path)
    again = local_copy(ADDRESS, tmp_path)
    assert again.unchanged >= 40
    assert again.copied + again.unchanged == 50
    assert set(content_of(again.path).values()) == {b"x"}


def test_what_is_gone_goes_though_the_list_is_lost_and_leaves_no_empty_class(
    bucket: MemoryFileSystem, tmp_path: Path
) -> None:
    for name in ("train/x/a.jpg", "train/y/a.jpg", "train/z"):
        put(bucket, name, b"a")
    first = local_copy(ADDRESS, tmp_path)
    (first.path.parent / "copied.json").unlink()
    bucket.rm("/bucket/photos/train/y", recursive=True)
    bucket.rm_file("/bucket/photos/train/z")
    put(bucket, "train/z/b.jpg", b"b")
    assert counts(local_copy(ADDRESS, tmp_path)) == (2, 0, 2)
    assert content_of(first.path) == {"train/x/a.jpg": b"a", "train/z/b.jpg": b"b"}
    assert {path.name for path in (first.path / "train").iterdir()} == {"x", "z"}
    bucket.rm("/bucket/photos/train/z", recursive=True)
    put(bucket, "train/z", b"c")
    assert counts(local_copy(ADDRESS, tmp_path)) == (1, 1, 1)
    assert (first.path / "train" / "z").read_bytes() == b"c"


def test_what_is_left_out_is_told(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    put(bucket, "train/a.jpg", b"a")
    put(bucket, "train\\b.jpg", b"b")
    copy = local_copy(ADDRESS, tmp_path)
    assert content_of(copy.path) == {"train/a.jpg": b"a"}
    assert [name.rpartition("/")[2] for name in copy.left_out] == ["train\\b.jpg"]


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_a_table_comes_with_its_pictures_and_a_parquet_file_alone(
    bucket: MemoryFileSystem, tmp_path: Path, name: str
) -> None:
    put(bucket, name, b"its lines")
    put(bucket, "a.jpg", b"a")
    put(bucket, "b.parquet", b"b")
    table = local_copy(f"{ADDRESS}/{name}", tmp_path)
    assert table.path.name == name
    assert (table.path.parent / "a.jpg").read_bytes() == b"a"
    alone = local_copy(f"{ADDRESS}/b.parquet", tmp_path)
    assert alone.path.read_bytes() == b"b"
    assert alone.copied == 1


def test_a_local_address_is_not_copied(tmp_path: Path) -> None:
    assert is_url(f"file://{tmp_path}")
    assert local_copy(f"file://{tmp_path}", tmp_path / "cache") == LocalCopy(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_copied_is_told(
    bucket: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, sentence in {
        "memory://bucket/nothing": "there is nothing, or no server that answers: check address and network",
        "nowhere://photos": "cannot be reached",
    }.items():
        with pytest.raises(InputError, match=f"{address}: {sentence}"):
            local_copy(address, tmp_path)
    put(bucket, "a.jpg", b"a" * 2_000_000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 0))
    with pytest.raises(StorageError, match="2 MiB are to be copied here, and 0 MiB are free"):
        local_copy(ADDRESS, tmp_path)
