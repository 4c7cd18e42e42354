"""Images are decoded once, unreadable ones are reported, and a stale one is never read."""

from __future__ import annotations

import os
import pickle
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landmarks.errors import DataError, ImageError, StorageError
from landmarks.files.state import user_cache
from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.preprocessing import Preprocessing, prepare, resize_short_side
from landmarks.training.data.cache import PictureCache, build_cache, channel_statistics
from landmarks.training.data.loaders import EvalTransform


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(width, height, seed)).save(path, quality=90)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / "data" / f"{number}.jpg", 300 + number, 280, number) for number in range(3)]


class Decodings:
    """Counts how many pictures were decoded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, done: int, total: int) -> None:
        self.count = done


def build(paths: Sequence[Path], folder: Path) -> tuple[PictureCache, int]:
    decodings = Decodings()
    return build_cache(paths, folder, progress=decodings), decodings.count


def test_pictures_are_kept_as_the_contract_resizes_them(pictures: list[Path], tmp_path: Path) -> None:
    cache, _ = build([*pictures, save(tmp_path / "small.png", 20, 30)], tmp_path / "cache")
    assert len(cache) == 4
    for path in pictures:
        np.testing.assert_array_equal(cache.picture(path), resize_short_side(load_rgb(path, min_side=256), 256))
    np.testing.assert_array_equal(cache.picture(tmp_path / "small.png"), noise(20, 30))


def test_a_picture_that_can_be_read_by_now_is_taken_in(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights, memory or a drive may have come, and the file is as it was."""

    def forbid(path: Path, **more: Any) -> np.ndarray:
        if path == pictures[1]:
            raise ImageError(path, "no permission to read the file")
        return load_rgb(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr("landmarks.training.data.cache.load_rgb", forbid)
        cache, _ = build(pictures, tmp_path / "cache")
        assert [one.path for one in cache.broken] == [pictures[1]]
    cache, _ = build(pictures, tmp_path / "cache")
    assert (len(cache), cache.broken) == (3, ())


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=6),
    st.sampled_from([".jpg", ".png"]),
)
def test_a_crop_from_the_cache_is_what_the_contract_makes_of_the_file(
    sizes: list[tuple[int, int]], suffix: str
) -> None:
    sizes = [(width, height) for width, height in sizes if max(width, height) <= 100 * min(width, height)]
    with tempfile.TemporaryDirectory() as name:
        folder, contract = Path(name), Preprocessing()
        paths = [save(folder / f"{i}{suffix}", *size, seed=i) for i, size in enumerate([(99, 101), *sizes])]
        cache = build_cache(paths, folder)
        for path in paths:
            crop = EvalTransform(contract).crop(cache.picture(path))
            np.testing.assert_array_equal(crop, prepare(path, contract))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_decodes_on_the_cores_it_may_use(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set[int]()

    def slow(path: Path, *, min_side: int) -> np.ndarray:
        threads.add(threading.get_ident())
        time.sleep(0.01)
        return load_rgb(path, min_side=min_side)

    monkeypatch.setattr("landmarks.training.data.cache.load_rgb", slow)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        build_cache(pictures, tmp_path / "cache")
    finally:
        os.sched_setaffinity(0, before)
    assert len(threads) == 1


def test_the_second_time_nothing_is_decoded(pictures: list[Path], tmp_path: Path) -> None:
    assert build(pictures, tmp_path / "cache")[1] == 3
    assert build(pictures, tmp_path / "cache")[1] == 0


def test_a_path_told_another_way_finds_the_same_cache(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = build(pictures, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    relative = [path.relative_to(tmp_path) for path in pictures]
    second, decoded = build(relative, tmp_path / "cache")
    assert decoded == 0
    for here, there in zip(relative, pictures, strict=True):
        np.testing.assert_array_equal(second.picture(here), first.picture(there))


def test_a_folder_spelt_another_way_finds_the_same_cache(pictures: list[Path], tmp_path: Path) -> None:
    build(pictures, tmp_path / "cache")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for folder in (tmp_path / "other" / ".." / "data", tmp_path / "link"):
        same, decoded = build([folder / path.name for path in pictures], tmp_path / "cache")
        assert decoded == 0
        assert same.picture(folder / pictures[0].name).shape == (256, 274, 3)


def test_a_changed_picture_makes_a_new_cache(pictures: list[Path], tmp_path: Path) -> None:
    before, _ = build(pictures, tmp_path / "cache")
    old = before.picture(pictures[1]).copy()
    save(pictures[1], 300, 300, seed=9)
    after, decoded = build(pictures, tmp_path / "cache")
    assert decoded == 3
    assert after.picture(pictures[1]).shape == (256, 256, 3)
    np.testing.assert_array_equal(before.picture(pictures[1]), old)  # who still reads the old one is not disturbed


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size without having the pixels."""
    chunks = b""
    for kind, content in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_pictures_that_cannot_be_read_are_told_and_stop_nothing(pictures: list[Path], tmp_path: Path) -> None:
    whole = pictures[0].read_bytes()
    damaged = {
        "cut short.jpg": (whole[: len(whole) // 2], "damaged, cut short"),
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"not a picture", "not a picture of an accepted format"),
        "huge.png": (png_of(20_000, 10_000), "20000 x 10000 pixels, which take 1525.9 MiB to decode"),
    }
    for name, (content, _) in damaged.items():
        (tmp_path / name).write_bytes(content)
    expected = {tmp_path / name: reason for name, (_, reason) in damaged.items()}
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    expected |= {tmp_path / "folder.jpg": "this is a folder", tmp_path / "link.jpg": "no such file"}
    for name, size in {"thin.png": (1, 200), "long.png": (30_000, 280)}.items():
        expected[save(tmp_path / name, *size)] = "more than 100 times as long as wide"
    for _ in range(2):  # decoded, then from the cache
        cache, _ = build([pictures[0], *expected, *pictures[1:]], tmp_path / "cache")
        assert [item.path for item in cache.broken] == list(expected)
        for item in cache.broken:
            assert expected[item.path] in item.reason
        for path in pictures:
            assert min(cache.picture(path).shape[:2]) == 256


def test_a_set_of_which_nothing_can_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"none of the 1 pictures can be read \(.*text\.jpg: the content is not"):
        build_cache([tmp_path / "text.jpg"], tmp_path / "cache")


def test_a_file_name_of_an_old_encoding_is_no_obstacle(tmp_path: Path) -> None:
    good, bad = save(tmp_path / "caf\udce9.jpg"), tmp_path / "ol\udce9.jpg"
    bad.write_bytes(b"")
    for _ in range(2):
        cache, _ = build([good, bad], tmp_path / "cache")
        assert cache.picture(good).shape == (30, 40, 3)
        assert cache.broken[0].path == bad


@pytest.mark.parametrize("pattern", ["pictures-*.bin", "pictures-*.json"])
def test_a_damaged_cache_is_made_again(pictures: list[Path], tmp_path: Path, pattern: str) -> None:
    cache, _ = build(pictures, tmp_path / "cache")
    right = cache.picture(pictures[2]).copy()
    (file,) = (tmp_path / "cache").glob(pattern)
    file.write_bytes(file.read_bytes()[:50])
    cache, decoded = build(pictures, tmp_path / "cache")
    assert decoded == 3
    np.testing.assert_array_equal(cache.picture(pictures[2]), right)


def test_what_a_killed_process_left_is_removed_and_what_another_writes_stays(
    pictures: list[Path], tmp_path: Path
) -> None:
    left, fresh = tmp_path / ".pictures-ab-01234567.bin", tmp_path / ".pictures-cd-89abcdef.bin"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    build_cache(pictures, tmp_path)
    assert not left.exists()
    assert fresh.read_bytes() == b"half"


def test_writing_into_a_picture_never_reaches_the_file(pictures: list[Path], tmp_path: Path) -> None:
    cache, _ = build(pictures, tmp_path / "cache")
    right = cache.picture(pictures[0]).copy()
    cache.picture(pictures[0])[:] = 0
    np.testing.assert_array_equal(build(pictures, tmp_path / "cache")[0].picture(pictures[0]), right)


def test_a_cache_goes_to_loader_processes_without_its_pixels(pictures: list[Path], tmp_path: Path) -> None:
    cache, _ = build(pictures, tmp_path / "cache")
    right = cache.picture(pictures[1])
    sent = pickle.dumps(cache)
    assert len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent).picture(pictures[1]), right)


def test_a_cache_folder_that_cannot_be_made_is_told(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="a file exists where a folder is needed"):
        build_cache(pictures, tmp_path / "file")


def test_statistics_are_those_of_all_pixels_and_kept(pictures: list[Path], tmp_path: Path) -> None:
    cache, _ = build(pictures, tmp_path / "cache")
    for _ in range(3):
        mean, std = channel_statistics(cache, pictures[:2], tmp_path / "cache")
        pixels = np.concatenate([cache.picture(path).reshape(-1, 3) for path in pictures[:2]]) / 255
        np.testing.assert_allclose(mean, pixels.mean(axis=0), atol=2e-6)
        np.testing.assert_allclose(std, pixels.std(axis=0), atol=2e-6)
        (file,) = (tmp_path / "cache").glob("statistics-*.json")
        file.write_text("{", encoding="utf-8")  # damaged: computed again


def test_pictures_of_one_flat_colour_can_still_be_normalised(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "flat.png")
    cache, _ = build([tmp_path / "flat.png"], tmp_path / "cache")
    mean, std = channel_statistics(cache, [tmp_path / "flat.png"], tmp_path / "cache")
    np.testing.assert_allclose(mean, np.array([10, 20, 30]) / 255, atol=1e-6)
    assert min(std) > 0


def test_the_usual_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_cache() == Path(os.environ["XDG_CACHE_HOME"]) / "landmarks"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "landmarks"
