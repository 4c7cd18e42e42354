"""`landmarks evaluate` on other data than a run's own, and `landmarks models` with operating points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import landmarks
from tiny_model import calibrated, make_model, save_colour

from landmarks.model.folder import Origin, read_info, write_info
from landmarks.model.operating_points import ExpectedRate, ExpectedRates, OperatingPoint

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
RATE = ExpectedRate(0.01, 0.005, 0.02, 900)
POINTS = {
    "precision": OperatingPoint(0.8, 0.6),
    "balanced": OperatingPoint(0.5, 0.5, ExpectedRates(false_tags_ordinary=RATE)),
    "recall": OperatingPoint(0.1, 0.5),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_model(tmp_path / "colours", calibration=calibrated(operating_points=POINTS))
    origin = (Origin("holiday", 12, "CC BY 4.0"), Origin("the web", 3, "none"))
    write_info(folder, replace(read_info(folder), licence="experiments only", origin=origin))
    save_colour(tmp_path / "data/Stonehenge/0.png", (30, 30, 230))
    save_colour(tmp_path / "data/Moon/0.png", (128, 128, 128))
    (tmp_path / "data/Moon/broken.jpg").write_bytes(b"nothing")
    save_colour(tmp_path / "nothing/rooms/0.png", (128, 128, 128))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(kind: str, line: str) -> dict[str, object]:
    jsonschema = pytest.importorskip("jsonschema")
    row = json.loads(line)
    jsonschema.validate(row, json.loads((SCHEMAS / f"{kind}.json").read_text()))
    return row


def test_metrics_are_printed_and_the_files_are_written(place: Path) -> None:
    outcome = landmarks("evaluate", "colours", "data", "--negatives", "nothing", "--workers", "1")
    assert outcome.status == 0, outcome.err
    unreadable = "unreadable: 1 photos, counted nowhere: data/Moon/broken.jpg ("
    for text in ("1 photos of 1 landmarks", "nothing/rooms", "Moon", unreadable, "AUROC"):
        assert text in outcome.out
    folder = place / "runs/evaluate-colours-data"
    assert outcome.out.splitlines()[-1] == "report: runs/evaluate-colours-data/report.html"
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "photos.jsonl", "report.html"}


def test_another_evaluation_is_not_overwritten(place: Path) -> None:
    save_colour(place / "other/data/Stonehenge/0.png", (30, 30, 230))
    for data, prefer, made in (
        ("data", "balanced", "evaluate-colours-data"),
        ("other/data", "balanced", "evaluate-colours-data-2"),
        ("data", "recall", "evaluate-colours-data-3"),
        ("other/data", "balanced", "evaluate-colours-data-2"),
        ("data", "balanced", "evaluate-colours-data"),
    ):
        outcome = landmarks("evaluate", "colours", data, "--prefer", prefer, "--workers", "1")
        assert outcome.out.splitlines()[-1] == f"report: runs/{made}/report.html"
    assert len(list((place / "runs").iterdir())) == 3


def test_json_lines_are_as_the_schema_says(place: Path) -> None:
    outcome = landmarks("evaluate", "colours", "data", "--jsonl", "--workers", "1", "--out", "here")
    rows = [check("evaluate", line) for line in outcome.out.splitlines()]
    assert [row["outcome"] for row in rows] == ["untagged", "unreadable", "rightly"]
    assert "report: here/report.html" in outcome.err


def test_another_operating_point_is_asked_for_by_name(place: Path) -> None:
    assert landmarks("evaluate", "colours", "data", "--prefer", "recall", "--workers", "1").status == 0
    metrics = json.loads((place / "runs/evaluate-colours-data/metrics.json").read_text())
    assert metrics["tagging"]["prefer"] == "recall"
    plain = make_model(place / "plain")
    outcome = landmarks("tag", "--model", plain, "--prefer", "recall", "data/Moon/0.png")
    assert outcome.status == 2
    assert outcome.complaint.startswith("--prefer is recall, but the model has no such operating point")
    outcome = landmarks("tag", "--model", plain, "--prefer", "precision", "data/Moon/0.png")
    assert outcome.complaint.endswith("and at least 199 photos in --negatives")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("colours",), "colours: no run with data of its own"),
        (("world",), "world: no run with data of its own"),
        (("colours", "data", "--split", "test"), "--split is about a run's own data"),
        (("colours", "--out", "there"), "--out is about other data"),
        (("colours", "nowhere"), "nowhere: no such folder"),
        (("a_run", "--prefer", "recall"), "--prefer needs DATA: give it too"),
        (("a_run", "--no-position", "--workers", "3"), "--position needs DATA: give it too"),
        (("a_run", "--workers", "3"), "--workers needs DATA: give it too"),
        (("colours", "data", "--out", "data/Moon/0.png"), "--out data/Moon/0.png is a file: give a folder"),
        (("colours", "data", "--out", "a_run"), "--out a_run: run.json in it is of another command"),
        (("colours", ""), "the text is empty"),
        (("colours", "data", "--negatives", ""), "the text is empty"),
    ],
)
def test_mistakes_are_told_in_one_sentence(place: Path, arguments: tuple[str, ...], words: str) -> None:
    if "--out" in arguments:
        (place / "a_run").mkdir()
        (place / "a_run/run.json").touch()
    outcome = landmarks("evaluate", *arguments)
    assert outcome.status == 2
    assert words in outcome.complaint
    assert not (place / "runs").exists()


def test_a_threshold_that_was_chosen_on_no_photos_is_no_calibration(place: Path) -> None:
    model = make_model(place / "cautious", calibration=calibrated(fitted_on={"negatives": 0}))
    (row,) = (json.loads(line) for line in landmarks("models", model, "--jsonl").out.splitlines()[-1:])
    landmarks("evaluate", model, "data", "--out", "out", "--workers", "1")
    measured = json.loads((place / "out/metrics.json").read_text())["model"]
    assert (row["name"], row["calibrated"], measured["calibrated"]) == ("cautious", False, False)


def test_a_folder_named_like_a_model_is_not_taken_for_it(place: Path) -> None:
    (place / "world").mkdir()
    assert "world: no run with data of its own" in landmarks("evaluate", "world").complaint
    outcome = landmarks("evaluate", "world", "data", "--workers", "1")
    assert outcome.status == 0, outcome.err


def test_models_say_licence_origin_and_rates(place: Path) -> None:
    out = landmarks("models", "colours").out
    assert "licence: experiments only" in out
    assert "learned from: holiday (12 pictures, CC BY 4.0), the web (3 pictures, no licence)" in out
    assert "--prefer balanced: false tags on ordinary photos 1.0% (0.5% to 2.0%)" in out
    assert "--prefer precision: not measured" in out
    rows = [check("models", line) for line in landmarks("models", "colours", "--jsonl").out.splitlines()]
    assert rows[-1]["operating_points"]["balanced"]["expected"]["false_tags_ordinary"]["count"] == 900
