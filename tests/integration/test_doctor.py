"""`landmarks doctor` on a drawn data set with planted faults, through the command line."""

from __future__ import annotations

import csv
import os
import random
import shutil
from pathlib import Path

import pytest
from commands import Outcome, landmarks
from drawn import draw_scene
from PIL import Image, ImageEnhance

from landmarks.training.doctor.findings import PROBLEMS, Proposal, write_proposals

TOWER, BRIDGE = "00.Clock_Tower", "01.Arch_Bridge"
LATIN = os.fsdecode(b"caf\xe9 \xf1.jpg")


def plant(data: Path) -> dict[str, set[str]]:
    """Plant faults of each kind; returns the pictures, one of which must be named for each fault."""
    train, test = data / "train", data / "test"
    (train / BRIDGE / "a web page.jpg").write_text("<html></html>")
    content = (train / BRIDGE / "000.jpg").read_bytes()
    (train / BRIDGE / LATIN).write_bytes(content[: len(content) // 3])
    with Image.open(train / TOWER / "001.jpg") as image:
        image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(train / TOWER / "kleinere Kopie 🗼.jpg")
    with Image.open(test / BRIDGE / "002.jpg") as image:
        ImageEnhance.Brightness(image).enhance(0.85).save(train / BRIDGE / "leak.jpg", quality=60)
    shutil.copy(train / BRIDGE / "003.jpg", train / TOWER / "conflict.jpg")
    draw_scene("Pyramid", random.Random(5)).save(train / TOWER / "wrong.jpg")
    draw_scene("Arch_Bridge", random.Random(6), side=40).save(train / BRIDGE / "small.jpg")
    return {
        "broken": {f"train/{BRIDGE}/a web page.jpg", f"train/{BRIDGE}/caf\\udce9 \\udcf1.jpg"},
        "duplicate": {f"train/{TOWER}/kleinere Kopie 🗼.jpg"},
        "leakage": {f"train/{BRIDGE}/leak.jpg"},
        "conflict": {f"train/{TOWER}/conflict.jpg"},
        "label": {f"train/{TOWER}/wrong.jpg", f"train/{TOWER}/conflict.jpg"},
        "small": {f"train/{BRIDGE}/small.jpg"},
    }


def content(folder: Path) -> dict[str, bytes]:
    return {os.path.relpath(p, folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def sick(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, set[str]]]:
    data = tmp_path_factory.mktemp("sick") / "my data"
    shutil.copytree(drawn, data)
    return data, plant(data)


@pytest.fixture(scope="module")
def examined(
    sick: tuple[Path, dict[str, set[str]]], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    out = tmp_path_factory.mktemp("examined") / "report"
    return landmarks("doctor", sick[0], "--out", out, "--cache", cache), out


def proposals(out: Path) -> list[dict[str, str]]:
    with (out / "proposals.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_planted_fault_is_found(
    sick: tuple[Path, dict[str, set[str]]], examined: tuple[Outcome, Path]
) -> None:
    outcome, out = examined
    assert outcome.status == 0, outcome.err
    rows = proposals(out)
    for problem, planted in sick[1].items():
        found = {row["path"] for row in rows if row["problem"] == problem}
        assert planted <= found, problem
        assert len(found) <= len(planted) + 1, problem
        assert f"{problem:10}{len(found):6}" in outcome.out
    moves = {row["path"]: row["class_proposed"] for row in rows if row["problem"] == "label"}
    assert moves[f"train/{TOWER}/wrong.jpg"] == "02.Pyramid"
    assert moves[f"train/{TOWER}/conflict.jpg"] == BRIDGE


def test_looking_changes_nothing(
    sick: tuple[Path, dict[str, set[str]]], examined: tuple[Outcome, Path], cache: Path, tmp_path: Path
) -> None:
    before = content(sick[0])
    again = landmarks("doctor", sick[0], "--out", tmp_path / "again", "--cache", cache)
    assert again.status == 0, again.err
    assert content(sick[0]) == before
    assert (tmp_path / "again" / "proposals.csv").read_bytes() == (examined[1] / "proposals.csv").read_bytes()


def test_the_report_stands_alone_and_shows_pictures(examined: tuple[Outcome, Path]) -> None:
    page = (examined[1] / "report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg") >= 8
    for problem in PROBLEMS:
        assert f'id="{problem}"' in page
    assert "Clock Tower" in page


def test_apply_moves_what_was_chosen_and_undo_brings_it_back(
    sick: tuple[Path, dict[str, set[str]]], cache: Path, tmp_path: Path
) -> None:
    data = tmp_path / "my data"
    shutil.copytree(sick[0], data)
    before = content(data)
    flags = ("--out", tmp_path / "report", "--cache", cache)
    outcome = landmarks("doctor", data, *flags, "--apply", "broken, duplicate,leakage")
    assert outcome.status == 0, outcome.err
    place = tmp_path / "my data.quarantine"
    gone = set(before) - set(content(data))
    assert gone == {name for name in content(place) if name != "undo.json"}
    assert f"train/{BRIDGE}/{LATIN}" in gone
    assert f"train/{BRIDGE}/leak.jpg" in gone
    assert f"train/{TOWER}/wrong.jpg" not in gone
    assert f"moved: {len(gone)} pictures" in outcome.out
    undone = landmarks("doctor", data, "--undo")
    assert undone.status == 0, undone.err
    assert f"restored: {len(gone)} pictures" in undone.out
    assert content(data) == before
    assert not place.exists()


def test_a_picture_whose_place_is_taken_is_told(drawn: Path, cache: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    broken = data / "train" / TOWER / "broken.jpg"
    broken.write_bytes(b"")
    flags = ("--out", tmp_path / "report", "--cache", cache, "--quarantine", tmp_path / "aside")
    assert landmarks("doctor", data, *flags, "--apply", "broken").status == 0
    broken.write_bytes(b"a new one")
    outcome = landmarks("doctor", data, "--undo", "--quarantine", tmp_path / "aside")
    assert outcome.status == 2
    assert "nothing is overwritten" in outcome.complaint
    assert broken.read_bytes() == b"a new one"


def test_a_folder_of_classes_without_splits_is_examined(cache: Path, tmp_path: Path) -> None:
    for name in ("Clock_Tower", "Pyramid"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        for number in range(3):
            draw_scene(name, random.Random(number)).save(tmp_path / "flat" / name / f"{number}.png")
    (tmp_path / "flat" / "Empty").mkdir()
    shutil.copy(tmp_path / "flat" / "Pyramid" / "1.png", tmp_path / "flat" / "Pyramid" / "copy.png")
    outcome = landmarks("doctor", tmp_path / "flat", "--out", tmp_path / "report", "--cache", cache)
    assert outcome.status == 0, outcome.err
    assert "class Empty: no readable picture" in outcome.out
    assert [row["evidence"] for row in proposals(tmp_path / "report") if row["problem"] == "duplicate"] == [
        "the same bytes"
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--apply", "broken,typo"), "--apply"),
        (("--apply", ""), "--apply"),
        (("--min-side", "0"), "--min-side"),
        (("--seed", "-1"), "--seed must be from 0 to 2147483647, not -1"),
        (("--undo", "--apply", "broken"), "--undo"),
        (("--undo",), "nothing to put back"),
        (("--undo", "--min-side", "9"), "leave out --min-side"),
        (("--quarantine", "q"), "give --apply or --undo too"),
    ],
)
def test_wrong_flags_end_with_status_2_before_any_work(drawn: Path, flags: tuple[str, ...], said: str) -> None:
    outcome = landmarks("doctor", drawn, *flags)
    assert outcome.status == 2
    assert said in outcome.complaint


def test_the_report_is_written_over_no_other_and_into_no_class(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of a run")
    outcome = landmarks("doctor", drawn, "--out", tmp_path)
    assert outcome.complaint == (
        f"--out {tmp_path}: report.html in it is of another command: choose another folder"
    )
    assert (tmp_path / "report.html").read_text() == "of a run"
    outcome = landmarks("doctor", drawn, "--out", drawn / "train" / "report")
    assert "it would be read as pictures" in outcome.complaint
    inside = ("--apply", "broken", "--quarantine", drawn / "train" / "aside")
    outcome = landmarks("doctor", drawn, "--out", tmp_path / "new", *inside)
    assert "training would read the pictures there" in outcome.complaint
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pictures_of_a_table_are_named_as_in_the_table(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data" / f"t.{kind}"
    root.parent.mkdir()
    root.touch()
    folder = root.parent if kind == "csv" else tmp_path / f"parquet-{'0' * 20}" / "t.parquet"
    one = Proposal(folder / "1.jpg", "duplicate", "quarantine", "", 1.0, "A", "", other=folder / "2.jpg")
    write_proposals(tmp_path / "proposals.csv", [one], root)
    (row,) = proposals(tmp_path)
    within = "" if kind == "csv" else "t.parquet/"
    assert (row["path"], row["other"]) == (f"{within}1.jpg", f"{within}2.jpg")


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    assert "no such folder" in landmarks("doctor", tmp_path / "nowhere").complaint
    assert "no folder of pictures" in landmarks("doctor", tmp_path).complaint
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    empty = landmarks("doctor", tmp_path)
    assert (empty.status, "no picture" in empty.complaint) == (2, True)
    (tmp_path / "a" / "x.jpg").write_text("no picture")
    broken = landmarks("doctor", tmp_path, "--cache", tmp_path / ".cache")
    assert (broken.status, "can be read" in broken.complaint) == (2, True)
