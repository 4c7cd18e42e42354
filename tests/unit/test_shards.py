"""Shards: the images of a folder, streamed; each image once, however many processes share it."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landmarks.errors import DataError, SettingsError
from landmarks.imaging.decoding import load_rgb
from landmarks.training.config.settings import AugmentSettings, DataSettings
from landmarks.training.data.loaders import make_loaders, prepare_data
from landmarks.training.data.packing import PackSettings, pack
from landmarks.training.data.sampling import set_epoch
from landmarks.training.data.shards import ShardDataset, ShardSet, read_shard_set

PLAIN = AugmentSettings(names=(), sizes=(64,))
COUNT = 57


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a flat colour that says which one it is, as a folder with train/ and test/."""
    root = tmp_path_factory.mktemp("numbered")
    for split, count in (("train", COUNT + 10), ("test", 4)):
        for number in range(count):
            folder = root / split / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (number, 90, 200)).save(folder / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def shards(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("packed") / "shards"
    return pack(numbered, out, PackSettings(valid_size=0.15, shard_size=8, sample=6)).shards


def first_pixel(picture: object) -> torch.Tensor:
    return torch.tensor(int(np.asarray(picture)[0, 0, 0]))


def streamed(
    shards: ShardSet, batch: int, rank: int, world_size: int, *, workers: int = 0, epoch: int = 0
) -> list[int]:
    dataset = ShardDataset(shards, first_pixel, batch, rank=rank, world_size=world_size)
    loader = torch.utils.data.DataLoader(dataset, batch // world_size, num_workers=workers)
    set_epoch(loader, epoch)
    assert len(loader) == len(shards) // batch
    batches = [numbers.tolist() for numbers, _ in loader]
    assert [len(numbers) for numbers in batches] == [batch // world_size] * len(loader)
    return [number for numbers in batches for number in numbers]


@given(processes=st.integers(1, 4), part=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_processes_share_every_picture_exactly(shards: ShardSet, processes: int, part: int, seed: int) -> None:
    batch = processes * part
    seen = Counter[int]()
    for rank in range(processes):
        seen.update(streamed(shards, batch, rank, processes, epoch=seed))
    assert set(seen.values()) == {1}
    assert len(seen) == len(shards) - len(shards) % batch


def test_loader_processes_share_every_picture_too(shards: ShardSet) -> None:
    seen = streamed(shards, 6, 0, 2, workers=2) + streamed(shards, 6, 1, 2, workers=2)
    assert len(set(seen)) == len(seen) == len(shards) - len(shards) % 6


def test_epochs_come_in_orders_of_their_own(shards: ShardSet) -> None:
    first, again, other = (streamed(shards, 1, 0, 1, epoch=epoch) for epoch in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(other) != first


def test_shards_hold_what_the_folder_holds(numbered: Path, shards: ShardSet, tmp_path: Path) -> None:
    asked = DataSettings(batch_size=4)
    plain, packed = prepare_data(numbered, asked, cache=tmp_path), prepare_data(shards.root, asked, cache=tmp_path)
    assert packed.class_counts == plain.class_counts
    assert packed.train_size == plain.train_size == len(shards)
    assert len(packed.folder.train) == 6
    assert packed.preprocessing.mean == pytest.approx(plain.preprocessing.mean, abs=1e-5)
    for split in ("train", "valid", "test"):
        first, second = (
            Counter(
                (round(float(picture[0].mean()), 4), int(label))
                for pictures, labels in make_loaders(data, DataSettings(batch_size=1), PLAIN)[split]
                for picture, label in zip(pictures, labels, strict=True)
            )
            for data in (plain, packed)
        )
        assert first == second


def test_other_tools_read_the_shards(shards: ShardSet) -> None:
    with tarfile.open(shards.shards[0].path) as archive:
        names = archive.getnames()
        assert names[:4] == ["00000000.png", "00000000.cls", "00000001.png", "00000001.cls"]
        label = archive.extractfile("00000001.cls")
        assert label is not None
        assert label.read() in {b"0", b"1"}
    assert [shard.count for shard in shards.shards] == [8] * (len(shards) // 8) + [len(shards) % 8]


def test_large_pictures_are_made_smaller_and_broken_ones_told(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / "data" / f"{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (900, 600), (number, 0, 0)).save(folder / f"{number}.jpg")
    (tmp_path / "data" / "0" / "broken.jpg").write_text("no picture")
    packed = pack(tmp_path / "data", tmp_path / "out", PackSettings(sample=4))
    assert [line.split(":")[0] for line in packed.broken] in (["broken.jpg"], ["broken.jpg"] * 2)
    sizes = {load_rgb(path).shape for path in (tmp_path / "out").glob("*/*/*.jpg")}
    assert sizes == {(256, 384, 3)}
    assert not list(tmp_path.glob(".*"))


def test_a_start_reads_no_shard(shards: ShardSet, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(shards.root, root)
    for path in (root / "shards").iterdir():
        path.write_bytes(b"")
    data = prepare_data(root, DataSettings(batch_size=4), cache=tmp_path)
    loaders = make_loaders(data, DataSettings(batch_size=4), PLAIN)
    assert len(loaders["train"]) == len(shards) // 4
    with pytest.raises(DataError, match=r"train-00000\d.tar: damaged or missing"):
        next(iter(loaders["train"]))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [(DataSettings(limit=5), "`limit` cannot"), (DataSettings(sampler="balanced"), "`sampler` balanced cannot")],
)
def test_what_needs_a_list_is_refused(shards: ShardSet, asked: DataSettings, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        prepare_data(shards.root, asked)


def test_a_taken_folder_and_a_damaged_index_are_refused(numbered: Path, shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        pack(numbered, shards.root, PackSettings())
    shutil.copytree(shards.root, tmp_path / "copy")
    index = json.loads((tmp_path / "copy" / "index.json").read_text())
    (tmp_path / "copy" / "index.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(DataError, match="not what landmarks pack wrote"):
        read_shard_set(tmp_path / "copy")
