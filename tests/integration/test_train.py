"""`landmarks train` from a folder of pictures to a finished run, from scratch and by transfer."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Outcome, landmarks
from drawn import draw_dataset
from tiny_backbone import NARROW, TINY_BACKBONE

from landmarks.training.engine import optimization
from landmarks.training.engine.checkpoints import read_state
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.pipeline import prepare
from landmarks.training.engine.trained import load_run
from landmarks.training.models.weights import read_weights, save_weights
from landmarks.training.runs import folder as runs
from landmarks.training.runs.folder import RunFolder, open_run, read_history


def top1(run: Path, split: str = "test") -> float:
    return float(json.loads((run / f"metrics_{split}.json").read_text())["top1"]["value"])


def listed_in_runs() -> set[str]:
    """The files and folders that the docstring of `runs.py` promises, SPLIT spelt out."""
    lines = str(runs.__doc__).split("```")[1].split("RUN/\n")[1].splitlines()
    names = [name for line in lines for name in line.strip().split("   ")[0].split(" to ")[0].split(", ")]
    names = [name.split("  ")[0].strip("/") for name in names if name]
    return {name.replace("SPLIT", split) for name in names for split in ("valid", "test")}


@pytest.fixture
def train_head(drawn: Path, cache: Path, tmp_path: Path) -> Callable[..., tuple[Outcome, Path]]:
    """Train the head of a frozen backbone, whose embeddings are shared: the quickest run there is."""

    def train(*flags: object) -> tuple[Outcome, Path]:
        run = tmp_path / "run"
        small = ("--model", "transfer", *TINY_BACKBONE, "--views", 2, "--cache", cache, "--out", run)
        return landmarks("train", drawn, *small, *flags), run

    return train


# --- from scratch ---


def test_scratch_learns(tmp_path):
    scenes, run = tmp_path / "scenes", tmp_path / "run"
    draw_dataset(scenes, classes=3, train_per_class=40, test_per_class=10, side=80)
    small = ("--method", "scratch", "--epochs", 12, "--sizes", 48, "--batch-size", 16, "--ema", 0.8)
    small += ("--widths", "24,48,96,192")  # half the usual ones, a quarter of the work
    # Things of the size that the network learns: in the usual crop of 224 they would be four times as large.
    small += ("--resize", 64, "--crop", 60)
    gentle = ("--augment", "resized-crop,flip", "--crop-scale", 0.5)
    outcome = landmarks("train", scenes, *small, *gentle, "--out", run)
    assert outcome.status == 0, outcome.err
    # 18 and 30 pictures of 3 classes: one of a thousand networks is so good by chance. Trained: 0.69 to 0.94.
    assert (18 * top1(run, "valid") + 30 * top1(run, "test")) / 48 >= 0.55


def test_run_folder_holds_every_file_that_runs_lists(scratch_run, transfer_run):
    listed = listed_in_runs()
    assert {path.name for path in scratch_run.iterdir()} == listed - {"head"}
    # A frozen backbone has nothing but its head to continue.
    assert {path.name for path in transfer_run.iterdir()} == listed - {"last.ckpt", "tensorboard"}
    assert {"metrics.csv", "classes.csv", "last.ckpt", "weights.safetensors", "tensorboard"} == {
        path.name for path in (transfer_run / "head").iterdir()
    }


def test_metrics_have_a_row_an_epoch(scratch_run):
    with (scratch_run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(6))
    assert {row["size"] for row in rows} == {"48"}
    for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "learning_rate", "seconds"):
        assert all(float(row[name]) >= 0 for row in rows)


def test_weights_are_saved_when_validation_loss_falls_by_more_than_one_percent(scratch_run):
    best = float("inf")
    for row in read_history(scratch_run / "metrics.csv"):
        assert row.saved == (row.valid_loss < 0.99 * best)
        best = row.valid_loss if row.saved else best


def test_tensorboard_shows_the_curves_of_the_metrics(scratch_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(scratch_run / "tensorboard"))
    events.Reload()
    rows = read_history(scratch_run / "metrics.csv")
    for tag, field in (("loss/valid", "valid_loss"), ("accuracy/train", "train_accuracy")):
        shown = [(event.step, event.value) for event in events.Scalars(tag)]
        assert shown == [(row.epoch, pytest.approx(getattr(row, field), rel=1e-4)) for row in rows]


def test_report_needs_no_other_file(scratch_run):
    page = (scratch_run / "report.html").read_text()
    links = re.findall(r"""(?:src|href|xlink:href)\s*=\s*["']([^"']*)|url\(([^)]*)\)""", page)
    outside = [link or url for link, url in links if not re.match("data:|#|['\"]?#", link or url)]
    assert outside == []
    assert "<script src" not in page
    assert f"{top1(scratch_run):.1%}".rstrip("%").split(".")[0] in page


def test_files_are_readable_for_others_as_any_new_file(scratch_run):
    modes = {path.name: path.stat().st_mode & 0o777 for path in scratch_run.iterdir() if path.is_file()}
    assert set(modes.values()) == {modes["settings.json"]}


# --- transfer ---


def test_transfer_recognises_the_drawn_scenes(transfer_run):
    assert top1(transfer_run) >= 0.75


def test_second_run_embeds_nothing(train_head, monkeypatch):
    outcome, run = train_head("--epochs", 2)
    assert outcome.status == 0, outcome.err
    first = run.rename(run.with_name("first"))

    def refuse(*_: object) -> None:
        raise AssertionError("embeddings were computed again")

    monkeypatch.setattr("landmarks.training.models.features._embedder", refuse)
    outcome, run = train_head("--epochs", 2)
    assert outcome.status == 0, outcome.err
    assert top1(run) == top1(first)


def test_fine_tuning_moves_the_backbone(drawn, cache, transfer_run, tmp_path):
    run = tmp_path / "run"
    small = ("--epochs", 1, "--sizes", 64, "--batch-size", 16, "--views", 1, "--cache", cache)
    tuned = ("--model", "transfer", *TINY_BACKBONE, "--unfreeze", "--frozen", 2)
    outcome = landmarks("train", drawn, *tuned, "--out", run, *small)
    assert outcome.status == 0, outcome.err
    before = read_weights(transfer_run / "weights.safetensors").tensors
    after = read_weights(run / "weights.safetensors").tensors
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    stages = {".".join(name.split(".")[1:3]) for name in changed}
    assert {"blocks.1", "blocks.2", "conv_head.weight"} <= stages
    assert not {"conv_stem.weight", "bn1.weight", "blocks.0"} & stages
    assert (run / "head" / "metrics.csv").is_file()
    assert read_history(run / "metrics.csv")[0].size == 64


def test_a_backbone_of_which_nothing_would_learn_is_refused(drawn, cache, tmp_path):
    tuned = ("--model", "transfer", *TINY_BACKBONE, "--unfreeze", "--frozen", 9)
    outcome = landmarks("train", drawn, *tuned, "--out", tmp_path / "run", "--cache", cache)
    assert outcome.status == 2
    assert re.search(r"--frozen must be at most \d with \w+, not 9", outcome.err), outcome.err
    assert not (tmp_path / "run").exists()


def test_frozen_run_started_from_another_trains_its_head(transfer_run, train_head):
    outcome, run = train_head("--epochs", 1, "--init", transfer_run)
    assert outcome.status == 0, outcome.err
    assert "was trained on" not in outcome.err
    assert len(read_history(run / "metrics.csv")) == 1
    assert top1(run) >= 0.75


def test_fine_tuning_from_a_run_that_lacks_a_class_trains_the_head_first(
    drawn, cache, transfer_run, copy_run, tmp_path
):
    first, run = load_run(copy_run(transfer_run)), tmp_path / "run"
    save_weights(first.folder.weights, first.model, first.architecture, ("Elsewhere", *first.classes[1:]))
    small = ("--epochs", 1, "--sizes", 64, "--batch-size", 16, "--views", 1, "--cache", cache, "--out", run)
    outcome = landmarks("train", drawn, *TINY_BACKBONE, "--unfreeze", *small, "--init", first.folder.root)
    assert outcome.status == 0, outcome.err
    assert f"knows {len(first.classes) - 1} of the {len(first.classes)} classes" in outcome.err
    assert (run / "head" / "weights.safetensors").is_file()


def test_pictures_that_the_run_to_start_from_was_trained_on_are_told(scratch_run):
    """Another seed draws other validation pictures, and those measure nothing."""

    class Remarks(Logger):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def remark(self, text: str) -> None:
            self.lines.append(text)

    _, first = open_run(scratch_run)
    seen = Remarks()
    prepare(
        replace(first, loading=replace(first.loading, seed=1), model=replace(first.model, init=scratch_run)), seen
    )
    (told,) = seen.lines
    assert re.fullmatch(rf"{scratch_run} was trained on \d+ of the \d+ validation pictures, so .*", told)


# --- the settings of the loop ---


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", "plateau"), ("sgd", "onecycle"), ("adam", "cosine"), ("adamw", "cosine"), ("adamw", "onecycle")],
)
def test_each_optimizer_and_schedule_trains(train_head, transfer_run, optimizer, schedule):
    outcome, run = train_head("--epochs", 2, "--optimizer", optimizer, "--schedule", schedule)
    assert outcome.status == 0, outcome.err
    assert len(read_history(run / "metrics.csv")) == 2


def test_patience_stops_a_run_that_no_longer_improves(train_head, transfer_run):
    outcome, run = train_head("--epochs", 9, "--learning-rate", 1e-9, "--patience", 2)
    assert outcome.status == 0, outcome.err
    assert [row.saved for row in read_history(run / "metrics.csv")] == [True, False, False]


def test_time_budget_stops_a_run_after_the_epoch(train_head, transfer_run):
    outcome, run = train_head("--epochs", 9, "--max-minutes", 1e-9)
    assert outcome.status == 0, outcome.err
    assert len(read_history(run / "metrics.csv")) == 1


def test_plateau_lowers_the_rate(train_head, transfer_run):
    slow = ("--optimizer", "sgd", "--learning-rate", 1e-6)
    outcome, run = train_head("--epochs", 6, "--schedule", "plateau", *slow)
    assert outcome.status == 0, outcome.err
    rates = [row.learning_rate for row in read_history(run / "metrics.csv")]
    assert rates[0] == pytest.approx(1e-6)
    assert rates[-1] == pytest.approx(1e-7)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_average_of_the_weights_is_what_is_saved(train_head, transfer_run, decay):
    # A steady rate: the loss falls to the end, so that the last weights are the saved ones.
    steady = ("--schedule", "plateau", "--learning-rate", 0.005)
    outcome, run = train_head("--epochs", 3, "--ema", decay, *steady)
    assert outcome.status == 0, outcome.err
    state = read_state(run / "head" / "last.ckpt")
    saved = read_weights(run / "head" / "weights.safetensors").tensors
    judged = state["average"] if decay else state["model"]
    assert all(torch.equal(saved[name], value) for name, value in judged.items())
    assert (state["average"] is None) == (decay == 0)
    if decay:
        assert not torch.equal(saved["head.weight"], state["model"]["head.weight"])


def test_limit_and_balanced_sampler(drawn, cache, tmp_path):
    run = tmp_path / "run"
    small = (*NARROW, "--epochs", 1, "--sizes", 32, "--batch-size", 4, "--limit", 8, "--sampler", "balanced")
    outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *small)
    assert outcome.status == 0, outcome.err
    assert json.loads((run / "run.json").read_text())["data"]["train"] == 8


def test_loader_processes_give_a_run_too(drawn, cache, tmp_path):
    small = (*NARROW, "--epochs", 1, "--sizes", 32, "--limit", 8, "--batch-size", 4, "--workers", 1)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", cache, *small)
    assert outcome.status == 0, outcome.err


def test_run_is_named_after_its_data_when_no_name_is_given(drawn, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    shutil.copytree(drawn, photos)
    monkeypatch.chdir(photos)
    outcome = landmarks("train", ".", *NARROW, "--epochs", 1, "--sizes", 32, "--limit", 8)
    assert outcome.status == 0, outcome.err
    run = photos / "runs" / "scratch-photos"
    assert json.loads((run / "run.json").read_text())["data"]["name"] == "photos"
    assert "on photos" in (run / "report.html").read_text()


# --- a loss that is not a number ---


def test_loss_that_is_not_a_number_keeps_the_last_good_weights(drawn, cache, tmp_path, monkeypatch):
    class Breaking(torch.nn.CrossEntropyLoss):
        calls = 0

        def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return super().forward(logits, targets) * (float("nan") if self.calls > 3 else 1.0)

    monkeypatch.setattr(optimization, "get_loss", lambda smoothing: Breaking())
    run = RunFolder(tmp_path / "run")
    small = (*NARROW, "--epochs", 4, "--sizes", 32, "--batch-size", 16, "--limit", 32)
    outcome = landmarks("train", drawn, "--out", run.root, "--cache", cache, *small)
    assert outcome.status == 1
    assert "the loss became nan" in outcome.complaint
    assert "--learning-rate" in outcome.complaint
    rows = read_history(run.history)
    assert len(rows) == 1
    assert rows[0].saved
    assert all(bool(value.isfinite().all()) for value in read_weights(run.weights).tensors.values())
    assert landmarks("evaluate", run.root, "--split", "valid").status == 0


def test_huge_learning_rate_ends_in_one_sentence(drawn, cache, tmp_path):
    small = (*NARROW, "--epochs", 2, "--sizes", 32, "--batch-size", 8, "--ema", 0)
    huge = ("--optimizer", "sgd", "--learning-rate", 1e30)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", cache, *small, *huge)
    assert outcome.status == 1
    assert "--learning-rate" in outcome.complaint
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()  # so the command can be run again with a lower one
