"""What the commands print as JSON fits the schemas of the documentation; verdicts hold for all that tags."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from commands import landmarks
from made_runs import write_run
from tiny_model import COLOURS, add_reference, calibrated, make_model, save_colour

from landmarks.training.config.settings import default_settings

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return add_reference(make_model(tmp_path / "model", calibration=calibrated()))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A landmark, another one, something unknown and a file that is no picture."""
    folder = tmp_path / "photos"
    save_colour(folder / "tower.jpg", COLOURS["07.Eiffel_Tower"])
    save_colour(folder / "stones.jpg", COLOURS["31.Stonehenge"])
    save_colour(folder / "grey.jpg", COLOURS["background"])
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no photo")
    return folder


def check(schema: str, text: str) -> list[dict[str, object]]:
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text()))
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows
    for row in rows:
        validator.validate(row)
    return rows


def test_answers_fit_their_schemas(model: Path, photos: Path) -> None:
    tags = check("tag", landmarks("tag", photos, "--model", model, "--jsonl", "--explain").out)
    assert {"error" in row for row in tags} == {True, False}
    check("tag", landmarks("tag", photos, "--model", model, "--jsonl", "--dry-run").out)
    assert len(check("predict", landmarks("predict", photos, "--model", model, "--jsonl").out)) == 4
    check("models", landmarks("models", model, "--jsonl").out)
    places = json.loads(landmarks("tag", photos, "--model", model, "--geojson").out)
    jsonschema.validate(places, json.loads((SCHEMAS / "tag-geojson.json").read_text()))


def test_what_a_library_reports_fits_its_schemas(model: Path, photos: Path) -> None:
    landmarks("tag", photos, "--model", model, "--write", "-q")
    check("verdict", landmarks("reject", photos / "tower.jpg", "Paris", "--jsonl").out)
    check("verdict", landmarks("confirm", photos / "tower.jpg", "Eiffel Tower", "--jsonl").out)
    check("undo", landmarks("undo", photos, "--list", "--jsonl").out)
    planned = check("undo", landmarks("undo", photos, "--dry-run", "--jsonl").out)
    assert {row["status"] for row in planned} == {"planned"}
    assert (photos / "tower.jpg.xmp").exists()
    done = landmarks("undo", photos, "--jsonl")
    check("undo", done.out)
    assert f"{len(planned)} files: {len(planned)} restored" in done.err


def test_learning_fits_its_schema(model: Path, photos: Path, tmp_path: Path) -> None:
    yellow = tmp_path / "yellow"
    for number in range(5):
        save_colour(yellow / f"{number}.png", (220 + 3 * number, 225 - 4 * number, 25 + number))
    check("learn", landmarks("learn", "Atomium", yellow, "--model", model, "--jsonl").out)
    assert check("models", landmarks("models", model, "--jsonl").out)[-1]["learned"]


def test_the_index_fits_its_schemas(model: Path, photos: Path) -> None:
    pytest.importorskip("lancedb")
    check("index", landmarks("index", photos, "--model", model, "--jsonl").out)
    asked = ("--in", photos, "--model", model, "--jsonl")
    check("search", landmarks("search", photos / "tower.jpg", *asked).out)
    assert len(check("search", landmarks("search", photos / "tower.jpg", "--all", *asked).out)) == 3


def test_runs_fit_their_schema(tmp_path: Path) -> None:
    usual = default_settings(Path("pictures"), "transfer")
    write_run(tmp_path / "runs" / "usual", usual)
    write_run(tmp_path / "runs" / "other", replace(usual, model=replace(usual.model, dropout=0.25)))
    assert len(check("runs", landmarks("runs", "--folder", tmp_path / "runs", "--jsonl").out)) == 2


def test_a_missing_photo_among_many_stops_nothing(model: Path, photos: Path) -> None:
    for command in ("tag", "predict"):
        done = landmarks(command, photos / "gone.jpg", photos / "tower.jpg", "--model", model, "--jsonl")
        assert done.status == 2
        assert [Path(row["path"]).name for row in map(json.loads, done.out.splitlines())] == ["tower.jpg"]
        assert "gone.jpg: no such file" in done.err
        assert "skipped 1 (1 missing)" in done.err
    done = landmarks("tag", photos / "gone.jpg", photos / "tower.jpg", "--model", model, "--write")
    assert done.status == 2
    assert (photos / "tower.jpg.xmp").exists()


def test_the_closing_line_counts_every_file(model: Path, photos: Path) -> None:
    done = landmarks("tag", photos, "--model", model)
    line = done.err.splitlines()[-1]
    assert line.startswith("4 photos: 2 tagged, 1 unknown, 1 unreadable; skipped 1 (1 not a supported format); ")
    assert "photos/s" in line
    quiet = landmarks("tag", photos, "--model", model, "-q", "--only-tagged", "--exclude", "broken*")
    assert (quiet.status, quiet.err) == (0, "")
    assert [line.partition(":")[0].rpartition("/")[2] for line in quiet.out.splitlines()] == [
        "stones.jpg",
        "tower.jpg",
    ]
    verbose = landmarks("tag", photos, "--model", model, "-v")
    assert "notes.txt: skipped: not a supported format" in verbose.err


def test_tag_honours_a_rejection_as_tag_write_does(model: Path, photos: Path) -> None:
    landmarks("tag", photos, "--model", model, "--write", "-q")
    assert "Eiffel Tower" in landmarks("tag", photos / "tower.jpg", "--model", model).out
    assert landmarks("reject", photos / "tower.jpg", "Eiffel Tower").status == 0
    assert landmarks("tag", photos / "tower.jpg", "--model", model).out.endswith("tower.jpg: -\n")
    assert landmarks("confirm", photos / "tower.jpg", "Eiffel Tower").status == 0
    assert "Eiffel Tower" in landmarks("tag", photos / "tower.jpg", "--model", model).out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("undo", "gone.jpg"), "gone.jpg"),
        (("undo", ".", "--run", "99"), "no run 99"),
        (("reject", "gone.jpg", "Paris"), "gone.jpg"),
        (("reject", "tower.jpg", "Atlantis"), "Atlantis"),
        (("confirm", "gone.jpg", "Paris"), "gone.jpg"),
        (("confirm", "tower.jpg", "Atlantis"), "Atlantis"),
    ],
)
def test_what_does_not_exist_is_refused(
    words: tuple[str, ...], told: str, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks("tag", photos, "--model", model, "--write", "-q")
    monkeypatch.chdir(photos)
    done = landmarks(*words)
    assert done.status == 2
    assert told in done.complaint
