"""A run that was killed or stopped and continued ends like one that was not disturbed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Outcome, landmarks
from tiny_backbone import NARROW, TINY_BACKBONE
from warm import WarmCommand

from landmarks.cli.progress import RunProgress
from landmarks.training.engine.checkpoints import read_state
from landmarks.training.models.weights import read_weights
from landmarks.training.runs.folder import EpochRow, RunFolder, read_history

SCRATCH = (*NARROW, "--epochs", 3, "--sizes", "32,48", "--batch-size", 8, "--limit", 24, "--threads", 1)
FROZEN = ("--model", "transfer", *TINY_BACKBONE, "--batch-size", 16)
HEAD = (*FROZEN, "--views", 2, "--epochs", 4, "--threads", 1)


def figures(run: RunFolder) -> list[EpochRow]:
    """The rows of `metrics.csv` without the times."""
    return [replace(row, seconds=0.0, images_per_second=0.0) for row in read_history(run.history)]


def assert_same(left: RunFolder, right: RunFolder) -> None:
    assert figures(left) == figures(right)
    for run in (left, right):
        assert not list(run.root.rglob(".*")), "a half-written file is left"
    ours, theirs = read_weights(left.weights).tensors, read_weights(right.weights).tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stop_at() -> Iterator[Callable[..., None]]:
    """Let the next run be stopped by Ctrl-C after a step of an epoch of a stage."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:

        def arm(epoch: int, step: int, stage: str) -> None:
            stages: list[str] = []

            def stop(self: RunProgress, at: int, done: int, total: int) -> None:
                if (stages[-1], at, done) == (stage, epoch, step):
                    patch.undo()
                    os.kill(os.getpid(), signal.SIGINT)

            patch.setattr(RunProgress, "stage", lambda self, text: stages.append(text))
            patch.setattr(RunProgress, "step", stop)

        yield arm
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def undisturbed(drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "undisturbed")
    outcome = landmarks("train", drawn, "--out", run.root, "--cache", cache, *SCRATCH)
    assert outcome.status == 0, outcome.err
    return run


def kill_in_second_epoch(*arguments: object) -> Outcome:
    """Run in a process that gets SIGKILL after the second step of the second epoch."""
    before = """
import os, signal
from landmarks.cli.progress import RunProgress
def step(self, epoch, done, total):
    if (epoch, done) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
RunProgress.step = step
"""
    return WarmCommand(*arguments, before=before).wait()


def test_killed_run_continues_to_the_same_figures(drawn, cache, undisturbed, tmp_path):
    run = RunFolder(tmp_path / "run")
    killed = kill_in_second_epoch("train", drawn, "--out", run.root, "--cache", cache, *SCRATCH)
    assert killed.status == -signal.SIGKILL, killed.err
    assert len(figures(run)) == 1
    resumed = landmarks("train", "--resume", run.root)
    assert resumed.status == 0, resumed.err
    assert_same(run, undisturbed)
    assert torch.equal(
        read_state(run.checkpoint)["model"]["head.weight"],
        read_state(undisturbed.checkpoint)["model"]["head.weight"],
    )
    assert run.report.is_file()


@pytest.mark.parametrize("flags", [(), ("--optimizer", "sgd", "--schedule", "plateau", "--ema", 0.9)])
def test_stopped_head_continues_to_the_same_figures(drawn, cache, tmp_path, stop_at, flags):
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    assert landmarks("train", drawn, "--out", whole.root, "--cache", cache, *HEAD, *flags).status == 0
    stop_at(2, 1, "training the head")
    assert landmarks("train", drawn, "--out", run.root, "--cache", cache, *HEAD, *flags).status == 130
    assert len(read_history(run.root / "head" / "metrics.csv")) == 2
    assert landmarks("train", "--resume", run.root).status == 0
    assert_same(run, whole)


def test_stopped_fine_tuning_keeps_its_best_weights(drawn, cache, tmp_path, stop_at):
    run = RunFolder(tmp_path / "run")
    tiny = ("--epochs", 2, "--sizes", 32, "--limit", 16, "--views", 1, "--ema", 0, "--learning-rate", 3)
    flags = (*FROZEN, "--unfreeze", *tiny, "--cache", cache)
    stop_at(1, 1, "training")
    assert landmarks("train", drawn, "--out", run.root, *flags).status == 130
    tuned = read_weights(run.weights).tensors
    outcome = landmarks("train", "--resume", run.root)
    assert outcome.status == 0, outcome.err
    assert [row.saved for row in figures(run)] == [True, False]
    after = read_weights(run.weights).tensors
    assert all(torch.equal(tuned[name], after[name]) for name in tuned)


def test_ctrl_c_ends_in_one_sentence_that_says_how_to_go_on(drawn, cache, tmp_path):
    run = tmp_path / "my run"
    before = """
import os, signal
from landmarks.cli.progress import RunProgress
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
RunProgress.step = lambda self, epoch, done, total: os.kill(os.getpid(), signal.SIGINT)
"""
    outcome = WarmCommand("train", drawn, "--out", run, "--cache", cache, *SCRATCH, before=before).wait()
    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert outcome.complaint == f"{run}: stopped: continue with landmarks train --resume {shlex.quote(str(run))}"


def test_run_stopped_before_its_first_epoch_starts_anew(drawn, cache, undisturbed, tmp_path, stop_at):
    run = RunFolder(tmp_path / "run")
    stop_at(0, 1, "training")
    assert landmarks("train", drawn, "--out", run.root, "--cache", cache, *SCRATCH).status == 130
    assert not run.history.exists()
    assert landmarks("train", "--resume", run.root).status == 0
    assert_same(run, undisturbed)


def test_finished_run_trains_no_further_when_resumed(drawn, cache, tmp_path):
    run = RunFolder(tmp_path / "run")
    flags = ("--learning-rate", 1e-9, "--patience", 1, "--out", run.root, "--cache", cache)
    torch.set_num_threads(2)
    random = torch.get_rng_state()
    assert landmarks("train", drawn, *HEAD, *flags).status == 0
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), random)
    before, told = figures(run), json.loads(run.info.read_text())
    assert len(before) == 2
    assert told["seconds"] > 0
    run.report.unlink()
    told |= {"seconds": 6000.0, "started": "then", "machine": "another", "versions": {"landmarks": "0"}}
    run.info.write_text(json.dumps(told))
    assert landmarks("train", "--resume", run.root).status == 0
    assert figures(run) == before
    assert "100.0 minutes" in run.report.read_text()
    assert json.loads(run.info.read_text()) == told


def test_the_run_it_started_from_may_be_gone(drawn, cache, undisturbed, tmp_path, stop_at):
    base, run = (RunFolder(tmp_path / name) for name in ("base", "run"))
    shutil.copytree(undisturbed.root, base.root)
    stop_at(1, 1, "training")
    flags = ("--cache", cache, "--init", base.root, "--epochs", 2)
    assert landmarks("train", drawn, "--out", run.root, *SCRATCH, *flags).status == 130
    shutil.rmtree(base.root)
    outcome = landmarks("train", "--resume", run.root)
    assert outcome.status == 0, outcome.err
    assert len(figures(run)) == 2


@pytest.mark.parametrize("flag", [("--epochs", 9), ("--batch-size", 4)])
def test_resume_refuses_settings_that_it_would_ignore(undisturbed, flag):
    outcome = landmarks("train", "--resume", undisturbed.root, *flag)
    assert outcome.status == 2
    assert flag[0] in outcome.complaint
