"""Several processes train what one would: here, over two machines, and after one of them was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Outcome, landmarks
from free_port import free_port
from lightning_fabric import Fabric
from tiny_backbone import NARROW, TINY_BACKBONE
from torch.multiprocessing.spawn import ProcessExitedException
from warm import WarmCommand, warm_ranks

from landmarks.training.models.weights import read_weights
from landmarks.training.runs.folder import EpochRow, RunFolder, read_history

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc"),
]

SCRATCH = (*NARROW, "--epochs", 3, "--sizes", "32,48", "--batch-size", 8, "--limit", 24)
CPU = ("--accelerator", "cpu", "--threads", 1, "--precision", "32-true")


def figures(run: RunFolder) -> list[EpochRow]:
    """The rows of `metrics.csv` without the times."""
    return [replace(row, seconds=0.0, images_per_second=0.0) for row in read_history(run.history)]


def torchrun(port: int, rank: int, words: list[object]) -> WarmCommand:
    """Start torchrun as on one of two machines; it starts the command in a process of its own."""
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    arguments = [*meet, "--node-rank", str(rank), *map(str, words)]
    return WarmCommand(
        before=f"""
import os, sys
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
from torch.distributed.run import main
main({arguments!r})
sys.exit()
"""
    )


@pytest.fixture(scope="module", autouse=True)
def _warm_ranks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        warm_ranks(patch)
        yield


@pytest.fixture(scope="module")
def machines(
    drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, list[Outcome]]:
    """A run of two machines that nothing disturbed, and how it ended on each."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "machines")
    port = free_port()
    train = ["-m", "landmarks", "train", drawn, "--out", run.root, "--cache", cache, *SCRATCH, *CPU, "--nodes", 2]
    second, first = (torchrun(port, rank, train) for rank in (1, 0))
    return run, [first.wait(), second.wait()]


def assert_same(left: RunFolder, right: RunFolder) -> None:
    assert figures(left) == figures(right)
    ours, theirs = read_weights(left.weights).tensors, read_weights(right.weights).tensors
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_devices_learn_what_one_learns(drawn: Path, cache: Path, tmp_path: Path) -> None:
    # Without augmentation, and with batch norms that do not learn, nothing differs but the order of sums.
    tuned = ("--model", "transfer", *TINY_BACKBONE, "--unfreeze")
    exact = (*tuned, "--augment", "", "--views", 1, "--sizes", 64, "--limit", 16)
    runs = []
    for count in (1, 2):
        run = RunFolder(tmp_path / str(count))
        flags = ("--epochs", 2, "--batch-size", 8, "--devices", count, "--cache", cache)
        outcome = landmarks("train", drawn, "--out", run.root, *exact, *flags, *CPU)
        assert outcome.status == 0, outcome.err
        runs.append(run)
    for one, two in zip(figures(runs[0]), figures(runs[1]), strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert two.valid_loss == pytest.approx(one.valid_loss, rel=1e-3)
        assert two.valid_accuracy == one.valid_accuracy


def test_a_run_goes_on_after_one_process_was_killed(
    drawn: Path, cache: Path, machines: tuple[RunFolder, list[Outcome]], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    process = WarmCommand("train", drawn, "--out", run.root, "--cache", cache, *SCRATCH, *CPU, "--devices", 2)
    wait_for(run.checkpoint.is_file, process)
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    outcome = process.wait()
    assert outcome.status == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert f"continue with --resume {run.root}" in outcome.complaint
    assert 1 <= len(figures(run)) < 3
    resumed = landmarks("train", "--resume", run.root)
    assert resumed.status == 0, resumed.err
    assert resumed.err.count("epoch   3") == 1, "one process tells how it goes"
    assert resumed.out.count("test accuracy") == 1
    assert "distributed" not in resumed.err
    assert not {"MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "WORLD_SIZE"} & set(os.environ)
    assert run.report.is_file()
    assert_same(run, machines[0])


def test_a_run_that_ended_before_it_had_weights_is_not_to_be_resumed(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise ProcessExitedException("killed", 1, 0, -9, "SIGKILL")

    monkeypatch.setattr(Fabric, "launch", killed)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", *SCRATCH, *CPU, "--devices", 2)
    assert outcome.complaint.endswith("was ended by SIGKILL (too little memory?): train again")
    assert not (tmp_path / "run").exists()


def test_two_machines_train_one_run(machines: tuple[RunFolder, list[Outcome]]) -> None:
    run, (first, second) = machines
    assert first.status == 0, first.err
    assert second.status == 0, second.err
    assert "test accuracy" in first.out
    assert second.out == ""
    assert len(list((run.root / "tensorboard").iterdir())) == 1
    assert run.report.is_file()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--devices", 3), "--batch-size must be a multiple of the 3 devices, not 8"),
        (("--devices", 8), "--batch-size must be at least 16 from scratch on 8 devices, not 8"),
        (("--nodes", 2), "--nodes 2 needs torchrun on every machine"),
        (("--devices", 2, "--batch-size", 100), "--batch-size must be at most the"),
    ],
)
def test_devices_that_do_not_fit_are_refused(
    drawn: Path, cache: Path, tmp_path: Path, flags: tuple[object, ...], sentence: str
) -> None:
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", cache, *SCRATCH, *CPU, *flags)
    assert (outcome.status, outcome.complaint[: len(sentence)]) == (2, sentence)
    assert not (tmp_path / "run").exists()


def wait_for(condition: Callable[[], bool], process: WarmCommand) -> None:
    while not condition():
        assert process.running, process.wait()
        time.sleep(0.02)


def ranks_of(parent: int) -> list[int]:
    """The processes that train, in the order in which they were started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
