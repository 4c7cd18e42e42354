"""`landmarks runs`: the list in three forms, and the comparison of two."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from commands import landmarks
from made_runs import write_run

from landmarks.training.config.settings import default_settings


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs that differ in one setting, one of them with a | in its name."""
    usual = default_settings(Path("pictures"), "transfer")
    write_run(tmp_path / "runs" / "usual", usual, wrong=(0, 1, 2, 3, 4, 5))
    other = replace(usual, model=replace(usual.model, dropout=0.25))
    write_run(tmp_path / "runs" / "drop|out", other)
    return tmp_path / "runs"


def test_runs_are_listed_as_a_table(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = landmarks("runs", "--folder", runs)
    assert outcome.status == 0
    header, first, second = outcome.out.splitlines()
    assert header.split()[:5] == ["run", "model", "data", "hash", "dropout"]
    assert first.split()[:5] == ["drop|out", "efficientnet_lite0", "pictures", "0123456789abcdef", "0.25"]
    assert second.split()[-5:] == ["1.2629", "0.5000", "0.2538", "0.7462", "1.1"]


def test_the_table_can_be_read_at_80_columns(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = landmarks("runs", "--folder", runs).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[0] == "accuracy"
    assert "drop|out efficientnet_lite0 on pictures (0123456789abcdef) dropout=0.25" in " ".join(lines)


def test_runs_are_listed_as_csv_and_markdown(runs):
    rows = list(csv.DictReader(io.StringIO(landmarks("runs", "--folder", runs, "--format", "csv").out)))
    assert [(row["run"], row["dropout"], row["accuracy"]) for row in rows] == [
        ("drop|out", "0.25", "1.0000"),
        ("usual", "0", "0.5000"),
    ]
    lines = landmarks("runs", "--folder", runs, "--format", "markdown").out.splitlines()
    assert lines[1].startswith("| --- | --- |")
    assert lines[2].startswith("| drop\\|out |")


def test_an_empty_folder_and_a_broken_run_are_told(runs, tmp_path):
    (tmp_path / "none").mkdir()
    outcome = landmarks("runs", "--folder", tmp_path / "none")
    assert (outcome.status, outcome.out) == (0, "")
    assert "no runs here" in outcome.err
    (runs / "usual" / "run.json").write_text("nonsense")
    outcome = landmarks("runs", "--folder", runs)
    assert outcome.status == 0
    assert "drop|out" in outcome.out
    assert "usual" not in outcome.out
    assert "left out" in outcome.err


def test_two_runs_are_compared(runs):
    outcome = landmarks("runs", "compare", runs / "usual", runs / "drop|out")
    assert outcome.status == 0, outcome.err
    assert "difference +0.5000" in outcome.out
    # 6 pictures known by one run alone: 2 / 2^6 by the exact test, half of it in the mid-p form.
    assert f"p = {1 / 2**6:.2g}: {runs / 'drop|out'} is better" in outcome.out
    assert (runs / "usual-drop|out.html").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "xml"), "Invalid value for '--format': 'xml' is not one of 'table', 'csv', 'markdown'"),
        (("--split", "train"), "Invalid value for '--split': 'train' is not one of 'valid', 'test'"),
        (("--folder", "gone"), "gone: no such folder: give the folder that holds your runs"),
        (("compare", "gone", "away"), "gone: not a run folder (settings.json is missing)"),
    ],
)
def test_a_mistake_is_told(words, sentence):
    outcome = landmarks("runs", *words)
    assert outcome.status == 2
    assert outcome.complaint.startswith(sentence)
