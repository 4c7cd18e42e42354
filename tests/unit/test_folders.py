"""An image folder is read, checked and split: reproducibly, or with a clear error."""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from commands import landmarks
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import DataError
from landmarks.training.data.folders import (
    DataFolder,
    Sample,
    limit_evenly,
    list_pictures,
    read_data_folder,
    split_stratified,
)
from landmarks.training.metrics.evaluate import Predictions, evaluate, write_evaluation

NAMES = ("07.Eiffel_Tower", "Köln, «Dom»", "São Paulo", "東京タワー 🗼")


def make(root: Path, counts: Mapping[str, int]) -> Path:
    """Make folders with so many pictures each; reading a folder opens none, so they are empty files."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(b"")
    return root


def read(root: Path, limit: int | None = None) -> DataFolder:
    return read_data_folder(root, valid_size=0.25, seed=0, limit=limit)


def with_test(counts: Mapping[str, int], test: Mapping[str, int]) -> Callable[[Path], object]:
    return lambda root: (make(root / "train", counts), make(root / "test", test))


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "missing",
        lambda root: root.rmdir(),
        "no such folder or table: give a folder with one folder of pictures per class",
    ),
    ("a file", lambda root: (root.rmdir(), root.write_bytes(b"")), "not a folder or a table that is read: give"),
    ("empty", lambda root: None, "there is no folder of pictures in it: make one folder per class"),
    ("one class", lambda root: make(root, {"A": 5}), "there is one class, 'A', and nothing to tell it from"),
    ("one picture", lambda root: make(root, {"A": 5, "B": 1}), "B: a class needs at least 3 pictures .*, not 1"),
    ("empty class", lambda root: make(root, {"A": 5, "B": 0}), "B: no pictures in it: add some or remove"),
    ("no test", lambda root: make(root / "train", {"A": 5, "B": 5}), "there is train/ but no test/"),
    ("no train", lambda root: make(root / "test", {"A": 5, "B": 5}), "there is test/ but no train/"),
    ("empty train", with_test({}, {"A": 1, "B": 1}), "there is test/ but no train/"),
    ("one training picture", with_test({"A": 5, "B": 1}, {"A": 1, "B": 1}), "B: a class needs at least 2"),
    ("empty training class", with_test({"A": 5, "B": 0}, {"A": 1, "B": 1}), "train/B: no pictures in it"),
    ("empty test class", with_test({"A": 5, "B": 5}, {"A": 1, "B": 0}), "test/B: no pictures in it"),
    ("unknown test class", with_test({"A": 5, "B": 5}, {"A": 1, "C": 1}), "class 'C' is not in train/"),
    ("old encoding", lambda root: make(root, {"A": 5, "caf\udce9": 5}), r"'caf\\udce9' is not UTF-8: rename it"),
    (
        "two of one split",
        lambda root: [make(root / name, {"A": 5, "B": 5}) for name in ("Train", "train", "test")],
        "Train/ and train/ are both the train split: merge them",
    ),
    (
        "manifest",
        lambda root: (make(root, {"A": 5, "B": 5}), (root / "manifest.csv").write_text("a,b\n1,2\n")),
        "manifest.csv: not a manifest with split, class, file and source",
    ),
]


@pytest.mark.parametrize(("build", "sentence"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, build: Callable[[Path], object], sentence: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    build(root)
    with pytest.raises(DataError, match=sentence) as caught:
        read(root)
    assert str(caught.value).startswith(str(root))


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder whose content every user may read, unless a test closes it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def closed(*folders: Path) -> Iterator[None]:
    """Let nobody read these folders."""
    for folder in folders:
        folder.chmod(0o000)
    was_root = os.geteuid() == 0
    if was_root:  # whom no permission binds
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("below", ["", "A"])
def test_an_unreadable_folder_is_told_in_a_sentence(open_to_all: Path, below: str) -> None:
    root = make(open_to_all / "data", {"A": 3, "B": 3})
    with closed(root), pytest.raises(DataError, match="the folder cannot be read: change its permissions"):
        read(root / below)


@pytest.mark.parametrize("where", ["C", "C/2023"])
def test_an_unreadable_class_is_told_and_stops_nothing(open_to_all: Path, where: str) -> None:
    root = make(open_to_all, {"A": 3, "B": 3, "C": 0, "C/2023": 3})
    with closed(root / where):
        folder, listing = read(root), list_pictures(root)
    assert folder.classes == listing.classes == ("A", "B")
    assert len(folder.train) == len(folder.valid) == len(folder.test) == 2
    assert (
        folder.notes
        == listing.notes
        == (
            f"{root / where}: the folder cannot be read (permission denied): change its permissions",
            f"{root}: skipped 1 (1 unreadable folder)",
        )
    )


def test_a_class_that_is_unreadable_in_one_split_is_left_out(open_to_all: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        make(open_to_all / split, {"A": count, "B": count, "C": count})
    with closed(open_to_all / "train" / "A", open_to_all / "test" / "B"):
        folder = read(open_to_all)
    assert folder.classes == ("B", "C")
    assert [sample.label for sample in folder.test] == [1]
    assert f"{open_to_all}/test/A: left out, as {open_to_all}/train/A cannot be read" in folder.notes


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_readable_classes_are_told_with_the_unreadable_ones(open_to_all: Path, count: int) -> None:
    root = make(open_to_all, {"A": 3, "B": 3})
    shut = [root / name for name in "AB"[count:]]
    with closed(*shut), pytest.raises(DataError) as caught:
        read(root)
    assert str(caught.value) == (
        f"{root}: {count} of its class folders can be read, and training needs two: change the permissions of "
        + ", ".join(map(str, shut))
    )


def test_train_and_test_are_read_with_labels_in_folder_order(tmp_path: Path) -> None:
    make(tmp_path / "train", {"B": 4, "A": 8, "C": 4})
    make(tmp_path / "test", {"C": 1, "A": 2})
    folder = read(tmp_path)
    assert folder.classes == ("A", "B", "C")
    assert folder.counts() == {
        "A": {"train": 6, "valid": 2, "test": 2},
        "B": {"train": 3, "valid": 1, "test": 0},
        "C": {"train": 3, "valid": 1, "test": 1},
    }
    for sample in (*folder.train, *folder.valid, *folder.test):
        assert sample.path.parent.name == folder.classes[sample.label]


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_given_split_may_have_one_class_alone(tmp_path: Path, split: str) -> None:
    for name in {"train", "test", split}:
        make(tmp_path / name, {"A": 4, "B": 4} if name != split else {"B": 2})
    folder = read(tmp_path)
    given = folder.test if split == "test" else folder.valid
    assert [folder.classes[sample.label] for sample in given] == ["B", "B"]


def test_one_folder_is_split_in_three(tmp_path: Path) -> None:
    folder = read(make(tmp_path, {"A": 20, "B": 3}))
    assert folder.counts() == {
        "A": {"train": 12, "valid": 4, "test": 4},
        "B": {"train": 1, "valid": 1, "test": 1},
    }
    everything = [sample.path for sample in (*folder.train, *folder.valid, *folder.test)]
    assert len(set(everything)) == len(everything) == 23


def test_a_validation_split_of_ones_own_is_used(tmp_path: Path) -> None:
    for split, count in (("Train", 6), ("VAL", 3), ("Testing", 2)):
        make(tmp_path / split, {"A": count, "B": count})
    folder = read(tmp_path)
    assert folder.classes == ("A", "B")
    assert folder.counts()["A"] == {"train": 6, "valid": 3, "test": 2}
    assert {sample.path.parts[-3] for sample in folder.valid} == {"VAL"}
    assert folder.notes == (f"{tmp_path / 'VAL'}: used for validation",)
    assert {*list_pictures(tmp_path).splits} == {"train", "valid", "test"}


def test_without_a_test_split_one_is_drawn_from_training(tmp_path: Path) -> None:
    make(tmp_path / "train", {"A": 10, "B": 10})
    make(tmp_path / "val", {"A": 3, "B": 3})
    folder = read(tmp_path)
    assert folder.counts()["A"] == {"train": 8, "valid": 3, "test": 2}
    assert any("there is no test/: a fifth of train/" in note for note in folder.notes)


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    make(tmp_path, {"train": 3, "Test": 3, "bus": 3})
    (tmp_path / "train" / "@eaDir").mkdir()  # of a network drive: no class
    assert read(tmp_path).classes == ("Test", "bus", "train")


def test_pictures_in_subfolders_of_a_class_belong_to_it(tmp_path: Path) -> None:
    make(tmp_path, {"A": 3, "B": 3, "A/2023/May": 2, "A/@eaDir/x": 4})
    (tmp_path / "loose.jpg").touch()
    (tmp_path / "A" / "clip.mp4").touch()
    folder = read(tmp_path)
    assert folder.classes == ("A", "B")
    assert sum(folder.counts()["A"].values()) == 5
    for sample in (*folder.train, *folder.valid, *folder.test):
        assert sample.path.relative_to(tmp_path).parts[0] == folder.classes[sample.label]
    assert folder.notes == (
        f"{tmp_path}: left out 1 picture in no class folder",
        f"{tmp_path}: skipped 2 (1 system file or folder, 1 video)",
    )


def test_an_ignore_file_takes_classes_and_pictures_out(tmp_path: Path) -> None:
    make(tmp_path, {"A": 3, "B": 3, "drafts": 3})
    (tmp_path / ".landmarksignore").write_text("drafts/\n0.jpg\n", encoding="utf-8")
    (tmp_path / "A" / "3.jpg").touch()
    (tmp_path / "B" / "3.jpg").touch()
    folder = read(tmp_path)
    assert folder.classes == ("A", "B")
    assert sum(folder.counts()["A"].values()) == 3


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, {"A": 3, "B": 3, ".cache": 3})
    for name in (".DS_Store.jpg", "notes.txt", "Photo.HEIC"):
        (tmp_path / "A" / name).write_bytes(b"")
    folder = read(tmp_path)
    found = {sample.path.name for sample in (*folder.train, *folder.valid, *folder.test) if sample.label == 0}
    assert folder.classes == ("A", "B")
    assert found == {"0.jpg", "1.jpg", "2.jpg", "Photo.HEIC"}


def test_classes_that_are_one_landmark_elsewhere_are_told_once(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys(("01.Old_Bridge", "02.Old_Bridge", "OLD-BRIDGE", "Other", "12", "13"), 3))
    note = (
        f"{tmp_path}: classes that differ in number, case or separators alone (01.Old_Bridge = 02.Old_Bridge = "
        "OLD-BRIDGE): merge them, or rename them"
    )
    assert read(tmp_path).notes == (note,)
    assert list_pictures(tmp_path).notes == (note,)
    assert note in landmarks("data", tmp_path).err


def test_class_names_of_any_script_survive_folders_and_tables(tmp_path: Path) -> None:
    folder = read(make(tmp_path / "data", dict.fromkeys(NAMES, 3)))
    assert folder.classes == tuple(sorted(NAMES))
    labels = np.array([sample.label for sample in folder.test])
    paths = tuple(sample.path for sample in folder.test)
    answers = np.eye(4, dtype=np.float32)[labels]
    write_evaluation(evaluate(Predictions(answers, labels, folder.classes, paths)), tmp_path, "test")
    with (tmp_path / "per_class_test.csv").open(encoding="utf-8", newline="") as file:
        assert tuple(row["class"] for row in csv.DictReader(file)) == folder.classes


def test_the_manifest_tells_the_source_and_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    make(tmp_path / "train", {NAMES[3]: 2, "B": 2})
    make(tmp_path / "test", {NAMES[3]: 1, "B": 1})
    lines = ["split,class,file,source", f"test,{NAMES[3]},0.jpg,Müller 📷", "test,B,0.jpg"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    folder = read(tmp_path)
    assert {sample.path.parent.name: sample.source for sample in folder.test} == {NAMES[3]: "Müller 📷", "B": ""}
    assert {sample.source for sample in folder.train} == {""}


@pytest.mark.parametrize("folder_name", ["val", "Validation"])
@pytest.mark.parametrize("written", ["valid", "val", "VAL", "any", ""])
def test_the_manifest_may_name_a_split_in_another_way(tmp_path: Path, folder_name: str, written: str) -> None:
    for split, count in (("train", 3), (folder_name, 2), ("test", 1)):
        make(tmp_path / split, {"A": count, "B/deep": count})
    rows = [f"{written},A,0.jpg,archive", f"{written},B,deep/1.jpg,holiday", "TRAIN,A,2.jpg,shop"]
    (tmp_path / "manifest.csv").write_text("\n".join(["split,class,file,source", *rows]))
    folder = read(tmp_path)
    found = {(s.path.parent.name, s.path.name): s.source for s in folder.valid if s.source}
    assert found == {("A", "0.jpg"): "archive", ("deep", "1.jpg"): "holiday"}
    assert {s.path.name for s in folder.train if s.source == "shop"} == {"2.jpg"}


@pytest.mark.parametrize("written", ["test", "val", "any", "", "world"])
def test_the_manifest_of_a_set_without_splits_may_name_any(tmp_path: Path, written: str) -> None:
    make(tmp_path, {"A": 3, "B": 3})
    rows = [f"{written},{name},{number}.jpg,from {name}" for name in "AB" for number in range(3)]
    (tmp_path / "manifest.csv").write_text("\n".join(["split,class,file,source", *rows]))
    folder = read(tmp_path)
    assert {s.source for s in (*folder.train, *folder.valid, *folder.test) if s.label} == {"from B"}
    assert {s.source for s in (*folder.train, *folder.valid, *folder.test) if not s.label} == {"from A"}


def test_the_fingerprint_tells_another_set_and_takes_any_file_name(tmp_path: Path) -> None:
    make(tmp_path / "here", {"A": 3, "B": 3})
    (tmp_path / "here" / "A" / "caf\udce9.jpg").write_bytes(b"")
    before = read(tmp_path / "here").fingerprint()
    (tmp_path / "here").rename(tmp_path / "there")
    assert read(tmp_path / "there").fingerprint() == before
    (tmp_path / "there" / "B" / "1.jpg").write_bytes(b"another picture")
    assert read(tmp_path / "there").fingerprint() != before


def test_pictures_that_cannot_be_read_are_taken_out(tmp_path: Path) -> None:
    folder = read(make(tmp_path, {"A": 10, "B": 10}))
    broken = [folder.train[0].path, folder.valid[0].path, folder.test[0].path]
    kept = folder.without(broken)
    assert kept.train == folder.train[1:]
    assert kept.valid == folder.valid[1:]
    assert kept.test == folder.test[1:]


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("train", "class 'A' has no readable training image: repair or remove it"),
        ("valid", "no validation image can be read: repair them or add others"),
        ("test", "no test image can be read: repair them or add others"),
    ],
)
def test_a_split_of_which_nothing_can_be_read_is_told(tmp_path: Path, split: str, sentence: str) -> None:
    folder = read(make(tmp_path, {"A": 4, "B": 4}))
    with pytest.raises(DataError, match=sentence):
        folder.without([sample.path for sample in getattr(folder, split)])


def samples_of(counts: list[int]) -> list[Sample]:
    return [Sample(Path(f"c{label}/{i}.jpg"), label) for label, count in enumerate(counts) for i in range(count)]


NAMED = [f"c{label}" for label in range(4000)]
class_counts = st.lists(st.integers(2, 15), min_size=1, max_size=6)
shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 1000)


@given(class_counts, shares, seeds)
def test_a_split_is_disjoint_complete_stratified_and_repeatable(
    counts: list[int], share: float, seed: int
) -> None:
    samples = samples_of(counts)
    drawn, rest = split_stratified(samples, share, seed, NAMED)
    merged = set(drawn) | set(rest)
    assert merged == set(samples)
    assert len(drawn) + len(rest) == len(samples)
    assert [s for s in samples if s in set(drawn)] == drawn  # in the order they came
    of_class = Counter(sample.label for sample in drawn)
    for label, count in enumerate(counts):
        assert 1 <= of_class[label] <= count - 1
        assert abs(of_class[label] - share * count) <= 1
    assert split_stratified(samples, share, seed, NAMED) == (drawn, rest)


@given(class_counts, shares, seeds)
def test_the_split_of_a_class_does_not_depend_on_the_others(counts: list[int], share: float, seed: int) -> None:
    samples = samples_of(counts)
    drawn, _ = split_stratified(samples, share, seed, NAMED)
    last = len(counts) - 1
    alone, _ = split_stratified([s for s in samples if s.label == last], share, seed, NAMED)
    assert alone == [s for s in drawn if s.label == last]


@given(class_counts, st.none() | st.integers(1, 80), seeds)
def test_a_limit_takes_from_all_classes_in_turn(counts: list[int], limit: int | None, seed: int) -> None:
    samples = samples_of(counts)
    taken = limit_evenly(samples, limit, seed)
    expected = len(samples) if limit is None else min(len(samples), max(limit, len(counts)))
    assert len(taken) == len(set(taken)) == expected
    assert set(taken) <= set(samples)
    of_class = Counter(sample.label for sample in taken)
    most = max(of_class.values())
    for label, count in enumerate(counts):
        assert of_class[label] >= min(count, most - 1, expected)
    assert limit_evenly(samples, limit, seed) == taken


def test_a_limit_below_the_number_of_classes_is_told(tmp_path: Path) -> None:
    root = make(tmp_path, {"A": 5, "B": 5, "C": 5})
    folder = read(root, limit=1)
    assert [sample.label for sample in folder.train] in ([*order] for order in permutations(range(3)))
    assert folder.notes == (
        f"{root}: limit 1 is below the number of classes, so one training image of each is used",
    )
    assert read(root, limit=3).notes == ()


def test_a_large_set_is_split_in_linear_time() -> None:
    samples = [Sample(Path(f"/data/{number % 4000}/{number}.jpg"), number % 4000) for number in range(80_000)]
    started = time.process_time()
    valid, train = split_stratified(samples, 0.15, 0, NAMED)
    assert time.process_time() - started < 12  # 18 s when each class looked at every picture
    assert len(valid) + len(train) == 80_000
    assert set(Counter(sample.label for sample in valid).values()) == {3}
    positions = {sample.path: position for position, sample in enumerate(samples)}
    assert [positions[sample.path] for sample in valid] == sorted(positions[sample.path] for sample in valid)
