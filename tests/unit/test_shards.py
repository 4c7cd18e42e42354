"""Shards: the images of a folder, streamed; each image once, however many processes share it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
import torch
from commands import landmarks
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch._utils import ExceptionWrapper

from landmarks.errors import DataError, SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.decoding import load_rgb
from landmarks.training.config.settings import AugmentSettings, DataSettings, default_settings
from landmarks.training.data.loaders import make_loaders, prepare_data
from landmarks.training.data.packing import PackSettings, pack
from landmarks.training.data.sampling import set_epoch
from landmarks.training.data.shards import ShardDataset, ShardSet, read_shard_set
from landmarks.training.engine.trained import trained_before
from landmarks.training.evaluation.matching import KnownLandmarks
from landmarks.training.evaluation.photos import collect_photos
from landmarks.training.export.calibration import require_others
from landmarks.training.runs.folder import create_run

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


def test_every_picture_of_a_single_shard_comes_in_some_epoch(shards: ShardSet) -> None:
    one = replace(shards, shards=shards.shards[:1])
    batch = len(one) - 3
    parts = [streamed(one, batch, 0, 1, epoch=epoch) for epoch in range(40)]
    assert {len(set(part)) for part in parts} == {batch}
    assert len(set(chain.from_iterable(parts))) == len(one)


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
    os.mkfifo(tmp_path / "data" / "0" / "pipe.jpg")
    packed = pack(tmp_path / "data", tmp_path / "out", PackSettings(sample=4))
    assert {line.split(":")[0] for line in packed.broken} == {"0/broken.jpg", "0/pipe.jpg"}
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


def test_a_validation_size_that_plays_no_part_is_told(shards: ShardSet, tmp_path: Path) -> None:
    (note,) = prepare_data(shards.root, DataSettings(valid_size=0.3), cache=tmp_path).folder.notes
    assert note.endswith("has split off the validation pictures: the validation size plays no part")


def test_a_taken_folder_and_a_damaged_index_are_refused(numbered: Path, shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        pack(numbered, shards.root, PackSettings())
    shutil.copytree(shards.root, tmp_path / "copy")
    index = json.loads((tmp_path / "copy" / "index.json").read_text())
    (tmp_path / "copy" / "index.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(DataError, match="not what landmarks pack wrote"):
        read_shard_set(tmp_path / "copy")


def copied(shards: ShardSet, folder: Path) -> Path:
    shutil.copytree(shards.root, folder)
    return folder


def rewritten(path: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Change the members of a shard."""
    with tarfile.open(path) as archive:
        members = [(one.name, cast(IO[bytes], archive.extractfile(one)).read()) for one in archive]
    with tarfile.open(path, "w") as archive:
        for name, content in change(members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda members: members[:6],
            r"damaged or missing \(3 of \d pictures are in it\): pack the pictures again",
        ),
        (lambda members: members[:7], "damaged or missing"),
        (lambda members: [], "damaged or missing"),
        (lambda members: [members[0], ("0.cls", b"7"), *members[2:]], r"\.png: there is no class 7: pack"),
        (lambda members: [members[0], ("0.cls", b"-1"), *members[2:]], r"\.png: there is no class -1: pack"),
        (lambda members: [("0.png", b"no picture"), *members[1:]], r"0\.png: unreadable \(.*\): pack"),
    ],
    ids=["cut", "cut in a pair", "emptied", "class", "negative class", "picture"],
)
def test_a_damaged_shard_ends_the_epoch_with_its_name(
    shards: ShardSet,
    tmp_path: Path,
    change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
    sentence: str,
) -> None:
    root = copied(shards, tmp_path / "copy")
    rewritten(root / "shards" / "train-000001.tar", change)
    dataset = ShardDataset(read_shard_set(root), first_pixel, 1)
    with pytest.raises(DataError, match=sentence) as caught:
        list(dataset)
    assert str(caught.value).startswith(str(root / "shards" / "train-000001.tar"))
    # As torch passes it on from a loader process, which takes 5 s to end after an error.
    with pytest.raises(DataError) as passed:
        ExceptionWrapper((caught.type, caught.value, caught.tb), "in DataLoader worker process 0").reraise()
    assert str(passed.value) == str(caught.value)


def test_missing_pictures_beside_the_shards_are_told(shards: ShardSet, tmp_path: Path) -> None:
    root = copied(shards, tmp_path / "copy")
    gone = sorted((root / "valid" / "class 1").iterdir())
    gone[0].unlink()
    sentence = f"{gone[0].parent}: {len(gone) - 1} of {len(gone)} pictures are there: copy the shards again"
    with pytest.raises(DataError, match=re.escape(sentence)):
        prepare_data(root, DataSettings(), cache=tmp_path)
    shutil.rmtree(root / "valid")
    with pytest.raises(DataError, match=r"valid/class 0: 0 of \d pictures are there"):
        prepare_data(root, DataSettings(), cache=tmp_path)


def test_shards_of_an_earlier_version_still_load(shards: ShardSet, tmp_path: Path) -> None:
    root = copied(shards, tmp_path / "copy")
    index = json.loads((root / "index.json").read_text())
    assert {split: sum(counts) for split, counts in index.pop("pictures").items()} == {
        split: len(list((root / split).glob("*/*"))) for split in ("train", "valid", "test")
    }
    (root / "index.json").write_text(json.dumps(index))
    (root / "valid" / "class 1" / "lost suffix").touch()
    folder = read_shard_set(root).folder()
    assert folder.valid
    assert folder.notes == (f"{root / 'valid'}: skipped 1 (1 not a supported format)",)


@pytest.mark.parametrize("name", ["{}", "{}.download", "{}.mp4", "{}.Über", "é" * 110 + "{}"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_pictures_with_any_name_are_packed(tmp_path: Path, name: str, kind: str) -> None:
    lines = ["path,label,split"]
    for number in range(12):
        file = tmp_path / name.format(number)
        Image.new("RGB", (30, 40), (20 * number, 90, 9)).save(file, kind)
        lines.append(f"{file.name},{'AB'[number % 2]},{('train', 'train', 'test')[number // 4]}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    packed = pack(tmp_path / "table.csv", tmp_path / "out", PackSettings(valid_size=0.25))
    data = prepare_data(packed.shards.root, DataSettings(), cache=tmp_path / "cache")
    assert (data.train_size, len(data.folder.valid), len(data.folder.test)) == (6, 2, 4)
    assert len(data.folder.train) == 6
    assert packed.broken == data.broken == ()


@pytest.mark.parametrize("name", [".hidden", "@eaDir", "..", "A/B", "lost+found", "ü" * 130])
def test_a_class_of_which_no_folder_can_be_read_is_not_packed(tmp_path: Path, name: str) -> None:
    lines = ["path,label"]
    for number in range(8):
        Image.new("RGB", (30, 40), (20 * number, 90, 9)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{('Tower', name)[number % 2]}")
    (tmp_path / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=rf"class '{re.escape(name)}' cannot be .*: rename it in the table"):
        pack(tmp_path / "table.csv", tmp_path / "out", PackSettings())
    assert not (tmp_path / "out").exists()


def test_shards_without_a_readable_test_picture_are_not_packed(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 1)):
        for number in range(2 * count):
            folder = tmp_path / "data" / split / f"{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 40), (20 * number, 90, 9)).save(folder / f"{number}.png")
    for file in (tmp_path / "data" / "test").glob("*/*"):
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no test image can be read: repair them or add others"):
        pack(tmp_path / "data", tmp_path / "out", PackSettings())


def test_shards_may_be_packed_into_an_empty_folder_where_one_stands(
    numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = landmarks("pack", numbered, ".", "--shard-size", 8)
    assert outcome.status == 0, outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["index.json", "shards", "test", "train", "valid"]
    assert prepare_data(Path(), DataSettings(), cache=tmp_path / "cache").train_size == COUNT
    assert "exists already" in landmarks("pack", numbered, ".").complaint


def test_two_processes_do_not_pack_into_one_folder(numbered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    second: list[str] = []

    def progress(_done: int, _total: int) -> None:
        if not second:
            second.append(landmarks("pack", numbered, out).complaint)

    packed = pack(numbered, out, PackSettings(), progress=progress)
    assert second == [f"{out}: another process is packing into it: wait for it, or choose another folder"]
    assert len(packed.shards) == COUNT


def test_what_a_killed_process_left_does_not_stay(numbered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".packing" / "shards").mkdir(parents=True)
    (out / ".packing" / "shards" / "train-000000.tar").write_bytes(b"half")
    (out / ".packing.lock").touch()
    pack(numbered, out, PackSettings())
    assert sorted(path.name for path in out.iterdir()) == ["index.json", "shards", "test", "train", "valid"]


def test_commands_know_shards(shards: ShardSet, tmp_path: Path) -> None:
    outcome = landmarks("data", shards.root)
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[0] == f"train: {COUNT} images of 2 classes, 28 to 29 per class, median 29"
    assert outcome.out.splitlines()[1:] == [
        "valid: 10 images of 2 classes, 5 to 5 per class, median 5",
        "test: 4 images of 2 classes, 2 to 2 per class, median 2",
    ]
    root = copied(shards, tmp_path / "copy")
    shutil.rmtree(root / "test" / "class 1")
    assert "test/class 1: 0 of 2 pictures are there" in landmarks("data", root).complaint


def test_commands_notice_that_a_part_of_the_shards_is_missing(shards: ShardSet, tmp_path: Path) -> None:
    root = copied(shards, tmp_path / "copy")
    (root / "shards" / "train-000003.tar").unlink()
    assert "train-000003.tar: 1 of 8 shards are missing" in landmarks("data", root).complaint
    shutil.rmtree(root / "test" / "class 1")
    with pytest.raises(DataError, match=r"test/class 1: 0 of 2 pictures are there"):
        collect_photos([root], [], KnownLandmarks(Gazetteer.bundled(), ("class 0", "class 1")))


def test_sources_stay_with_the_pictures_beside_the_shards(numbered: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(numbered, data)
    rows = [
        f"{path.parent.parent.name},{path.parent.name},{path.name},of {path.stem}" for path in data.glob("*/*/*")
    ]
    (data / "manifest.csv").write_text("\n".join(["split,class,file,source", *rows]))
    shards = pack(data, tmp_path / "shards", PackSettings(shard_size=99, sample=6)).shards
    whole = prepare_data(shards.root, DataSettings(), cache=tmp_path)
    assert whole.sources.total() == len(shards) > len(whole.folder.train), "a model card counts them all"
    assert set(whole.sources) == {f"of {number:03d}" for number in range(COUNT + 10)} - {
        sample.source for sample in whole.folder.valid
    }
    folder = shards.folder()
    assert len(folder.valid) == 10
    for sample in (*folder.train, *folder.valid, *folder.test):
        assert sample.source == f"of {sample.path.stem.partition('-')[2]}"
    known = KnownLandmarks(Gazetteer.bundled(), shards.classes)
    assert {photo.source for photo in collect_photos([shards.root], [], known).photos} == {
        sample.source for sample in folder.test
    }


@pytest.mark.parametrize("words", [("pack", "DATA", "OUT"), ("doctor", "DATA"), ("batch", "DATA", "--out", "OUT")])
def test_commands_that_need_every_picture_refuse_shards(
    shards: ShardSet, tmp_path: Path, words: tuple[str, ...]
) -> None:
    given = {"DATA": shards.root, "OUT": tmp_path / "out.png"}
    outcome = landmarks(*(given.get(word, word) for word in words))
    assert outcome.status == 2
    assert outcome.complaint == (
        f"{shards.root}: made by landmarks pack for landmarks train: give the folder that it was packed from"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lost", ["shards", "shards/train-000003.tar", "index.json"])
def test_a_set_of_which_a_part_is_missing_is_not_taken_for_a_folder(
    shards: ShardSet, tmp_path: Path, lost: str
) -> None:
    root = copied(shards, tmp_path / "copy")
    gone = root / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(DataError, match=rf"{lost}.*: .*pack the pictures again"):
        make_loaders(prepare_data(root, DataSettings(), cache=tmp_path), DataSettings(), PLAIN)


def test_a_folder_with_a_file_called_as_the_index_is_no_set_of_shards(numbered: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(numbered, root)
    for content in ("[1]", '{"format": 1}', "no JSON"):
        (root / "index.json").write_text(content)
        assert prepare_data(root, DataSettings(), cache=tmp_path).shards is None


def test_what_runs_before_were_trained_on_is_known_through_a_run_on_shards(
    numbered: Path, shards: ShardSet, tmp_path: Path
) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    create_run(first, default_settings(numbered, "scratch"))
    usual = default_settings(shards.root, "scratch")
    create_run(second, replace(usual, model=replace(usual.model, init=first)))
    told = [(run, len(seen) > 0, why[:27]) for run, seen, why in trained_before(second, numbered)]
    assert told == [(second, False, "its pictures lie in shards,"), (first, True, "")]
    assert next(trained_before(second, shards.root)) == (second, set(), "")
    data = prepare_data(shards.root, DataSettings(), cache=tmp_path / "cache")
    assert data.folder.notes == ()
    require_others([numbered / "test"], data, second)
    require_others([numbered / "train"], data, None)
    with pytest.raises(DataError, match=r"train: the model was trained on \d+ of 67 photos in it"):
        require_others([numbered / "train"], data, second)
