"""Training data in tables: CSV files, Parquet files, and the import of a known collection."""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import landmarks
from PIL import Image

from landmarks.errors import DataError, MissingExtraError, SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.training.config.jobs import PackSettings
from landmarks.training.data.folders import DataFolder, is_table, list_pictures, list_splits, read_data_folder
from landmarks.training.data.gldv2 import import_gldv2
from landmarks.training.data.loaders import get_data_loaders
from landmarks.training.data.packing import pack
from landmarks.training.evaluation.matching import KnownLandmarks
from landmarks.training.evaluation.photos import collect_photos


def pictures(folder: Path, count: int) -> list[str]:
    """Empty files: listing opens no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        (folder / name).touch()
    return names


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def read(root: Path) -> DataFolder:
    return read_data_folder(root, valid_size=0.25, seed=0)


# --- CSV ---


def labelled(folder: Path, count: int, *, separator: str = ",") -> list[str]:
    names = pictures(folder / "img", 2 * count)
    return [f"img/{name}{separator}{'A' if i < count else 'Köln Dom'}" for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("separator", "header", "encoding"),
    [(",", "path,label", "utf-8"), (";", "Label;Path", "utf-8-sig"), ("\t", "file\tclass", "utf-8")],
)
def test_a_table_is_split_like_a_folder(tmp_path: Path, separator: str, header: str, encoding: str) -> None:
    lines = labelled(tmp_path, 5, separator=separator)
    if header.startswith("Label"):
        lines = [separator.join(reversed(line.split(separator))) for line in lines]
    folder = read(table(tmp_path / "labels.csv", header, *lines, encoding=encoding))
    assert folder.classes == ("A", "Köln Dom")
    assert folder.counts() == {name: {"train": 3, "valid": 1, "test": 1} for name in folder.classes}
    assert folder.train[0].path == tmp_path / "img" / folder.train[0].path.name
    assert folder.notes == ()


def test_the_split_does_not_depend_on_how_paths_are_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    lines = [f"{root / line if i % 2 else line}" for i, line in enumerate(labelled(root, 5))]
    mixed = table(root / "labels.csv", "path,label", *lines)
    monkeypatch.chdir(root)
    first, other = ({one.path.name for one in read(path).test} for path in (mixed, Path("labels.csv")))
    assert first == other


def test_splits_and_sources_of_a_table_are_used(tmp_path: Path) -> None:
    names = pictures(tmp_path, 8)
    lines = [
        f"{tmp_path / name},{'AB'[i % 2]},{('', 'train', 'Test', 'val')[i // 2]},there"
        for i, name in enumerate(names)
    ]
    folder = read(table(tmp_path / "t.csv", "path,label,split,source", *lines))
    assert folder.counts()["A"] == {"train": 2, "valid": 1, "test": 1}
    assert {sample.source for sample in folder.test} == {"there"}
    assert set(list_pictures(tmp_path / "t.csv").splits) == {"train", "valid", "test"}


def test_rows_that_cannot_be_used_are_counted_and_told(tmp_path: Path) -> None:
    good = labelled(tmp_path, 5)
    bad = ["img/gone.jpg,A", "img/1.jpg,", ",A", "img/0.jpg,A", "img/9.jpg,A", "img/2.jpg,A,later", ""]
    path = table(tmp_path / "labels.csv", "path,label,split", *good[:2], *good[3:], *bad)
    folder = read(path)
    assert sum(sum(counts.values()) for counts in folder.counts().values()) == 8  # two labels: 9.jpg is out
    assert folder.notes == (
        f"{path}: left out 7 rows (2 two labels, 1 no such file, 1 no label, 1 no path, 1 listed before, "
        "1 unknown split)",
    )
    assert f"{path}, line 11: left out: no such file: {tmp_path / 'img/gone.jpg'}" in folder.skipped
    assert len(folder.skipped) == 7


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"no column path \(nothing\): name one path"),
        (b"path;name\n1.jpg;A\n", r"no column label \(path, name\): name one label"),
        ("path,label\n1.jpg,Caf\xe9\n".encode("latin-1"), r"not UTF-8 \(byte 21\): save it in UTF-8"),
        ("path,label\n".encode("utf-16"), "not UTF-8"),
        (b"path,label\n", "there is no row in it"),
        (b"path,label\n1.jpg,A\n2.jpg,A\n", r"none of its 2 rows can be used \(2 no such file\)"),
        (b'path,label\n"1.jpg,A\n', "not a CSV table"),
        (b"path,label\n\x00.jpg,A\n", "1 no such file|not a CSV table"),
        (None, "no such file: check the spelling"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_a_picture_counts_once_however_its_path_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = [f"{line},train" for line in labelled(tmp_path, 5)]
    (tmp_path / "other").symlink_to(tmp_path / "img")
    (tmp_path / "img" / "link.jpg").symlink_to("3.jpg")
    again = [
        f"{tmp_path}/img/0.jpg,A,test",
        "img/../img/1.jpg,A,test",
        "other/2.jpg,A,test",
        "img/link.jpg,A,test",
        "./img/9.jpg,A,train",  # another label
    ]
    path = table(tmp_path / "labels.csv", "path,label,split", *good, *again)
    monkeypatch.chdir(tmp_path)
    for given in (path, Path("labels.csv")):
        listing = list_pictures(given)
        assert {split: len(samples) for split, samples in listing.splits.items()} == {"": 9}
        assert listing.notes == (f"{given}: left out 6 rows (4 listed before, 2 two labels)",)
    tests = [line.replace("train", "test") for line in good[:3]]
    path = table(tmp_path / "first.csv", "path,label,split", *tests, *again, *good)
    listing = list_pictures(path)
    places = [sample.path.resolve() for samples in listing.splits.values() for sample in samples]
    assert len(places) == len(set(places)) == 9


def test_classes_of_a_table_are_checked_as_those_of_a_folder(tmp_path: Path) -> None:
    lines = labelled(tmp_path, 4)
    with pytest.raises(
        DataError, match=r"labels.csv, Köln Dom: a class needs at least 3 pictures to be split, not 1"
    ):
        read(table(tmp_path / "labels.csv", "path,label", *lines[:5]))
    with pytest.raises(DataError, match=r"labels.csv: there is one class, 'A'"):
        read(table(tmp_path / "labels.csv", "path,label", *lines[:4]))
    tests = [f"{line},{'test' if number < 4 else 'train'}" for number, line in enumerate(lines)]
    with pytest.raises(DataError, match=r"there is one class"):
        read(table(tmp_path / "labels.csv", "path,label,split", *tests))


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder of parquet"])
def test_splits_of_a_table_are_named_as_rows_not_as_folders(tmp_path: Path, kind: str) -> None:
    names = pictures(tmp_path / "img", 8)

    def given(labels: str, *splits: str) -> Path:
        if kind == "csv":
            lines = [
                f"img/{name},{label},{split}" for name, label, split in zip(names, labels, splits, strict=True)
            ]
            return table(tmp_path / "t.csv", "path,label,split", *lines)
        columns = {"image": [f"../img/{name}" for name in names], "label": [*labels], "split": [*splits]}
        path = parquet(tmp_path / "set" / "p.parquet", columns)
        return path if kind == "parquet" else path.parent

    def told(root: Path) -> DataFolder:
        return read_data_folder(root, valid_size=0.25, seed=0, cache=tmp_path / "cache")

    with pytest.raises(DataError, match=r"no row is of the split train: add some, or leave out the splits"):
        told(given("ABABABAB", *["test"] * 8))
    with pytest.raises(DataError, match=r"class 'C' is not in the split train: add it there or remove it"):
        told(given("ABABABAC", *["train"] * 6, "test", "test"))
    root = given("AAABBBAB", *["train"] * 6, "val", "val")
    assert told(root).notes == (
        f"{root}: no row is of the split test: a fifth of the split train is the test split",
        f"{root}, the split valid: used for validation",
    )
    root = given("AAAABAAB", *["train"] * 5, *["test"] * 3)
    with pytest.raises(DataError, match=rf"{root}, B: a class needs at least 2 pictures to be split, not 1"):
        told(root)


def test_a_file_of_another_kind_is_told_what_is_read(tmp_path: Path) -> None:
    ways = "give a folder with one folder of pictures per class, or a table: CSV, TSV, JSONL or Parquet"
    (tmp_path / "t.xlsx").touch()
    for name, what in (
        ("t.xlsx", "not a folder or a table that is read"),
        ("t.parquet", "no such folder or table"),
    ):
        with pytest.raises(DataError, match=rf"{name}: {what}: {ways}"):
            read(tmp_path / name)


def test_a_table_trains_packs_and_evaluates(tmp_path: Path) -> None:
    lines = []
    for number in range(12):
        Image.new("RGB", (40, 30), (number * 20, 9, 90)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'AB'[number % 2]}")
    path = table(tmp_path / "labels.csv", "path,label", *lines)
    loaders = get_data_loaders(path, batch_size=4, cache=tmp_path / "cache")
    assert next(iter(loaders["test"]))[0].shape[0] == 2
    packed = pack(path, tmp_path / "shards", PackSettings())
    assert packed.shards.classes == ("A", "B")
    photos = collect_photos([path], [], KnownLandmarks(Gazetteer.bundled(), ("A", "Other")))
    assert [photo.role for photo in photos.photos] == ["known"] * 6 + ["unknown"] * 6
    slashed = table(tmp_path / "slashed.csv", "path,label", *(line.replace("B", "B/C") for line in lines))
    with pytest.raises(DataError, match=r"class 'B/C' cannot be the name of a folder"):
        pack(slashed, tmp_path / "others", PackSettings())


def test_the_doctor_moves_no_picture_of_a_table(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.csv", "path,label", *labelled(tmp_path, 4))
    outcome = landmarks("doctor", path, "--apply", "broken")
    assert outcome.status == 2
    assert "--apply moves the pictures of folders: correct the rows" in outcome.err


def test_data_shows_what_a_set_contains(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.csv", "path,label", *labelled(tmp_path, 4), "gone.jpg,A")
    outcome = landmarks("data", path)
    assert outcome.out == "8 images of 2 classes, 4 to 4 per class, median 4\n"
    assert "left out 1 row (1 no such file)" in outcome.err


# --- JSON Lines ---


def test_json_lines_are_read_like_csv(tmp_path: Path) -> None:
    names = pictures(tmp_path / "img", 9)
    rows: list[Any] = [{"file_name": f"img/{name}", "Label": 7.0 + i % 2} for i, name in enumerate(names)]
    rows[8]["Label"] = ["A", "B"]
    rows[0]["split"] = rows[1]["split"] = "test"  # of which other lines say nothing
    rows[2]["source"] = "Köln\u2028"
    path = table(
        tmp_path / "t.ndjson", *(json.dumps(row, ensure_ascii=False) for row in rows), "", encoding="utf-8-sig"
    )
    assert is_table(path)
    folder = read(path)
    assert folder.counts() == {name: {"train": 2, "valid": 1, "test": 1} for name in ("7", "8")}
    assert {sample.source for sample in folder.train + folder.valid} == {"", "Köln"}
    assert folder.notes == (f"{path}: left out 1 row (1 no label)",)
    assert folder.skipped == (f"{path}, line 9: left out: no label: {tmp_path / 'img/8.jpg'}",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"path": "a.jpg", "label": "A"}\n{"path": ', r"t.jsonl, line 2: not JSON \(.*\): write one object per"),
        (b"[" * 100_000, "t.jsonl, line 1: not JSON"),
        (b'["a.jpg", "A"]', "t.jsonl, line 1: not a JSON object: write one with the keys path and label"),
        (b'{"path": "a.jpg", "name": "A"}', r"t.jsonl: no column label \(path, name\): name one label"),
        (b"\n", r"t.jsonl: no column path \(nothing\)"),
        (b'{"path": "\xff"}', "t.jsonl: not UTF-8"),
    ],
)
def test_json_lines_that_cannot_be_used_are_told_in_a_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read(tmp_path / "t.jsonl")


# --- Parquet ---


def jpeg(path: Path, shade: int) -> bytes:
    Image.new("RGB", (24, 16), (shade, 60, 120)).save(path, "JPEG")
    return path.read_bytes()


def parquet(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> Path:
    made = pa.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, path)
    return path


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_pictures_in_parquet_files_are_unpacked_once(tmp_path: Path, form: str) -> None:
    content = [jpeg(tmp_path / "one.jpg", shade) for shade in range(8)]
    given: list[Any] = [{"bytes": one, "path": "a.jpeg"} for one in content] if form == "struct" else content
    data = tmp_path / "set"
    for split in ("train", "test"):
        labels = [number % 2 for number in range(8)]
        parquet(
            data / "data" / f"{split}-00000-of-00001.parquet", {"image": given, "label": labels}, ["Köln", "Rom"]
        )
    assert is_table(data)
    folder = read_data_folder(data, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert folder.counts()["Rom"] == {"train": 3, "valid": 1, "test": 4}
    first = folder.train[0].path
    assert first.read_bytes() in content
    assert first.is_relative_to(tmp_path / "cache")
    stamp = first.stat().st_mtime_ns
    again = read_data_folder(data, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert again == folder
    assert first.stat().st_mtime_ns == stamp


def test_rows_of_parquet_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    content = jpeg(tmp_path / "there.jpg", 9)
    images: list[Any] = [{"bytes": content, "path": None}] * 6 + [
        {"bytes": None, "path": "there.jpg"},
        {"bytes": None, "path": "gone.jpg"},
        {"bytes": None, "path": None},
        {"bytes": content, "path": None},
    ]
    path = parquet(tmp_path / "p.parquet", {"image": images, "label": [*"AAABBBAAA", None]})
    folder = read_data_folder(path, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert sum(sum(counts.values()) for counts in folder.counts().values()) == 7
    assert folder.notes == (f"{path}: left out 3 rows (1 no such file, 1 no path, 1 no label)",)


def test_text_in_parquet_files_may_be_bytes_and_have_spaces(tmp_path: Path) -> None:
    columns = {"image": [jpeg(tmp_path / "a.jpg", i) for i in range(6)], "label": [b"K\xc3\xb6ln", b"Rom"] * 3}
    split = ["train ", "train", "val", "val", " test", "test"]
    path = parquet(tmp_path / "p.parquet", {**columns, "split": split, "source": [b"here "] * 6})
    assert landmarks("pack", path, tmp_path / "shards", "--cache", tmp_path / "cache").status == 0
    assert any((tmp_path / "cache").iterdir())
    folder = read_data_folder(path, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert folder.counts() == {name: {"train": 1, "valid": 1, "test": 1} for name in ("Köln", "Rom")}
    assert {sample.source for sample in folder.test} == {"here"}


def test_what_is_beside_parquet_files_is_left_out_and_told(tmp_path: Path) -> None:
    content = jpeg(tmp_path / "there.jpg", 9)
    data = tmp_path / "set"
    parquet(data / "train.parquet", {"image": [content] * 8, "label": [*"AB"] * 4})
    (data / "._train.parquet").write_bytes(b"of macOS")
    pictures(data / "train" / "A", 2)
    assert f"{data}: its Parquet files are read, and not the folders beside them: train" in [
        note for listed in list_splits(data, tmp_path / "cache").values() for note in listed.notes
    ]


def test_a_parquet_file_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"broken.parquet: not a Parquet file"):
        list_pictures(broken, tmp_path / "cache")
    other = parquet(tmp_path / "other.parquet", {"text": ["a"], "label": [1]})
    with pytest.raises(DataError, match=r"no column image \(text, label\): name one image"):
        list_pictures(other, tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"needs pyarrow.*'\.\[parquet\]'"):
        list_pictures(other, tmp_path / "cache")
    assert {each.suffix for each in (tmp_path / "cache").iterdir()} == {".lock"}


def test_processes_that_need_the_same_parquet_file_unpack_it_once(tmp_path: Path) -> None:
    content = [jpeg(tmp_path / "one.jpg", shade) for shade in range(200)]
    path = parquet(tmp_path / "p.parquet", {"image": content, "label": [str(shade % 2) for shade in range(200)]})
    with ThreadPoolExecutor(6) as readers:
        listed = list(readers.map(lambda _: list_pictures(path, tmp_path / "cache"), range(6)))
    assert all(one == listed[0] for one in listed)
    found = [sample.path for sample in listed[0].splits[""]]
    assert len(found) == 200
    assert all(one.is_file() for one in found)


def test_pictures_that_are_gone_from_the_cache_are_unpacked_again(tmp_path: Path) -> None:
    content = [jpeg(tmp_path / "one.jpg", shade) for shade in range(4)]
    path = parquet(tmp_path / "p.parquet", {"image": content, "label": [*"ABAB"]})
    before = list_pictures(path, tmp_path / "cache")
    before.splits[""][0].path.unlink()
    assert list_pictures(path, tmp_path / "cache") == before
    assert before.splits[""][0].path.is_file()


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, compression: str) -> None:
    content = [jpeg(tmp_path / "one.jpg", shade) for shade in range(40)]
    labels = [f"Köln {number}" for number in range(40)]
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"image": content, "label": labels}), path, compression=compression)
    good, complaints = path.read_bytes(), set()
    for seed in range(60):
        rng = random.Random(seed)
        spoilt = bytearray(good)
        for _ in range(20):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        path.write_bytes(spoilt)
        try:
            list_pictures(path, tmp_path / "cache")
        except DataError as error:
            complaints.add(str(error).partition("(")[0])
    assert f"{path}: not a Parquet file, or damaged " in complaints
    assert all(one.startswith(str(path)) for one in complaints)


@pytest.mark.parametrize("given", ["a\0.j\0pg", "a." + "x" * 300, "a.mp4", "a", 7, None])
def test_pictures_in_parquet_files_may_have_any_name(tmp_path: Path, given: str | int | None) -> None:
    content = jpeg(tmp_path / "one.jpg", 9)
    images = [{"bytes": content, "path": given}] * 6
    path = parquet(tmp_path / "p.parquet", {"image": images, "label": [*"AAABBB"]})
    folder = read_data_folder(path, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert {sample.path.suffix for sample in folder.train} == {".jpg"}


def test_pictures_of_parquet_files_are_known_wherever_the_cache_is(tmp_path: Path) -> None:
    content = [jpeg(tmp_path / "one.jpg", shade) for shade in range(24)]
    for number in range(2):
        labels = [str(shade % 2) for shade in range(12)]
        path = parquet(tmp_path / f"{number}.parquet", {"image": content[12 * number :][:12], "label": labels})
    runs = [
        read_data_folder(tmp_path, valid_size=0.25, seed=0, cache=tmp_path / name) for name in ("cache", "other")
    ]
    path.touch()
    runs.append(read_data_folder(tmp_path, valid_size=0.25, seed=0, cache=tmp_path / "cache"))
    assert len({run.fingerprint() for run in runs}) == 1
    assert len({sample.path for run in runs for sample in run.test}) > len(runs[0].test)
    names = [[run.name_of(sample.path) for sample in run.test] for run in runs]
    assert names[0] == names[1] == names[2]
    assert all(name.startswith(("0.parquet/", "1.parquet/")) for name in names[0])


@pytest.mark.parametrize("column", ["image", "path", "file_name"])
def test_parquet_files_may_have_paths(tmp_path: Path, column: str) -> None:
    names = [f"img/{name}" for name in pictures(tmp_path / "img", 8)]
    path = parquet(tmp_path / "p.parquet", {column: [*names, "gone.jpg"], "label": [*"AAAABBBBB"]})
    folder = read_data_folder(path, valid_size=0.25, seed=0, cache=tmp_path / "cache")
    assert folder.counts()["A"] == {"train": 2, "valid": 1, "test": 1}
    assert folder.train[0].path.parent == tmp_path / "img"
    assert folder.notes == (f"{path}: left out 1 row (1 no such file)",)


# --- Google Landmarks v2 ---


def gldv2(root: Path, landmarks_of: dict[int, int], *, form: str = "clean") -> tuple[Path, Path]:
    """A made part of the collection: so many pictures of each landmark, of which the first is not there."""
    images, lines = root / "images", []
    for landmark, count in landmarks_of.items():
        ids = [f"{landmark:04x}{number:012x}" for number in range(count)]
        for one in ids[1:]:
            path = images / one[0] / one[1] / one[2] / f"{one}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        clean = [f"{landmark},{' '.join(ids)}"]
        lines += clean if form == "clean" else [f"{one},http://x.test/,{landmark}" for one in ids]
    header = "landmark_id,images" if form == "clean" else "id,url,landmark_id"
    return table(root / "list.csv", header, *lines), images


def test_google_landmarks_go_to_a_file_that_training_reads(tmp_path: Path) -> None:
    listing, images = gldv2(tmp_path, {7: 6, 9: 5})
    outcome = landmarks(
        "data", "import", "gldv2", "--csv", listing, "--images", images, "--out", tmp_path / "t.txt"
    )
    assert outcome.status == 2
    assert outcome.complaint == f"--out {tmp_path / 't.txt'} is not the name of a table: let it end in .csv"
    assert not (tmp_path / "t.txt").exists()
    before = listing.read_bytes()
    with pytest.raises(SettingsError, match=r"list.csv is a file of the collection: choose another name"):
        import_gldv2(listing, images, tmp_path / "images" / ".." / "list.csv")
    assert listing.read_bytes() == before


@pytest.mark.parametrize("form", ["clean", "whole"])
def test_google_landmarks_become_a_table(tmp_path: Path, form: str) -> None:
    listing, images = gldv2(tmp_path, {7: 6, 9: 5, 12: 3, 300: 9}, form=form)
    names = table(
        tmp_path / "names.csv",
        "landmark_id,category",
        "7,http://commons.wikimedia.org/wiki/Category:K%C3%B6lner_Dom",
        "9,http://commons.wikimedia.org/wiki/Category:Town%2FHall",
        "300,http://commons.wikimedia.org/wiki/Category:Town/Hall",
    )
    found = import_gldv2(listing, images, tmp_path / "out.csv", names=names)
    assert (found.classes, found.pictures, found.missing, found.small) == (3, 17, 4, 1)
    folder = read(tmp_path / "out.csv")
    assert folder.classes == ("Kölner Dom", "Town-Hall (300)", "Town-Hall (9)")
    assert sum(folder.counts()["Kölner Dom"].values()) == 5
    assert "images/0/0/0/0007" in (tmp_path / "out.csv").read_text()  # the table may move with the pictures


def test_the_command_tells_what_an_import_left_out(tmp_path: Path) -> None:
    listing, images = gldv2(tmp_path, {7: 6, 9: 5, 12: 3, 300: 9})
    with listing.open("a") as file:
        file.write("9,nonsense\n300,0007000000000004\n")
    options = ("--csv", listing, "--images", images, "--out", tmp_path / "o.csv", "--limit-classes", 2)
    outcome = landmarks("data", "import", "gldv2", *options)
    assert outcome.out == f"12 images of 2 landmarks: {tmp_path / 'o.csv'}\n"
    assert read(tmp_path / "o.csv").notes == ()
    assert [line.removeprefix("left out: ") for line in outcome.err.splitlines()] == [
        "4 images are not in the folder",
        "1 entries are no image",
        "1 images are listed under several landmarks",
        "1 landmarks have fewer than 3 images",
        "1 landmarks are beyond the limit",
    ]


def test_a_list_of_another_collection_is_refused(tmp_path: Path) -> None:
    listing, images = gldv2(tmp_path, {7: 2})
    with pytest.raises(DataError, match="no landmark has 3 of the pictures that list"):
        import_gldv2(listing, images, tmp_path / "o.csv")
    other = table(tmp_path / "other.csv", "a,b", "1,2")
    outcome = landmarks("data", "import", "gldv2", "--csv", other, "--images", images)
    assert outcome.status == 2
    assert outcome.err.endswith("neither train_clean.csv nor train.csv of Google Landmarks v2: check --csv\n")
    assert not (tmp_path / "o.csv").exists()
