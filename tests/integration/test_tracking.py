"""`landmarks train --track mlflow`: into a local store, and to a server that may go away."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from commands import landmarks
from free_port import free_port
from lightning_fabric.utilities.rank_zero import rank_zero_only
from tiny_backbone import TINY_BACKBONE

from landmarks.cli.progress import RunProgress
from landmarks.training.config.settings import default_settings
from landmarks.training.runs.folder import create_run, read_history

pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow, of the extra track, is not installed")

SMALL = ("--model", "transfer", *TINY_BACKBONE, "--views", 2, "--batch-size", 16, "--epochs", 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of MLflow of its own."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    words = ["server", "--host", "127.0.0.1", "--port", port, "--workers", 1]
    store = ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", folder / "files"]
    command = [sys.executable, "-m", "mlflow", *map(str, words + store)]
    # Its runners of jobs are seven more processes that each import MLflow.
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet}
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)
        log.close()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the server of MLflow did not start")


def ask(server: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/{path}", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_run_is_told_to_a_local_store(drawn, cache, transfer_run, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tmp_path / "run"
    outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *SMALL, "--track", "mlflow")
    assert outcome.status == 0, outcome.err
    note = json.loads((run / "tracking.json").read_text())
    assert note["uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        told = store.execute("select step, value from metrics where key = 'valid_loss' order by step").fetchall()
        params = dict(store.execute("select key, value from params").fetchall())
        latest = dict(store.execute("select key, value from latest_metrics").fetchall())
        status = store.execute("select status from runs").fetchall()
    store.close()
    rows = read_history(run / "metrics.csv")
    assert told == [(row.epoch, pytest.approx(row.valid_loss, rel=1e-4)) for row in rows]
    assert (params["method"], params["views"], params["epochs"]) == ("transfer", "2", "2")
    top1 = json.loads((run / "metrics_test.json").read_text())["top1"]
    assert latest["test/accuracy"] == pytest.approx(top1["value"])
    assert status == [("FINISHED",)]
    assert list((tmp_path / "mlflow-files").rglob("report.html"))


def test_a_resumed_run_goes_on_at_its_server(server, drawn, cache, transfer_run, tmp_path, monkeypatch):
    run = tmp_path / "run"
    track = ("--track", "mlflow", "--track-uri", server)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(RunProgress, "step", stop)
        outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *SMALL, *track)
    assert outcome.status == 130, outcome.err
    run_id = json.loads((run / "tracking.json").read_text())["run_id"]
    assert ask(server, f"runs/get?run_id={run_id}")["run"]["info"]["status"] == "KILLED"
    assert landmarks("train", "--resume", run).status == 0
    found = ask(server, f"runs/get?run_id={run_id}")["run"]
    assert found["info"]["status"] == "FINISHED"
    metrics = {item["key"]: item["value"] for item in found["data"]["metrics"]}
    assert metrics["valid_accuracy"] == pytest.approx(
        read_history(run / "metrics.csv")[-1].valid_accuracy, rel=1e-4
    )
    files = {item["path"] for item in ask(server, f"artifacts/list?run_id={run_id}")["files"]}
    assert files == {"report.html", "settings.json", "run.json"}


def test_a_server_that_goes_away_ends_no_training(drawn, cache, transfer_run, tmp_path, monkeypatch):
    from landmarks.training.engine.loggers.mlflow import MLflowLogger, start_tracking

    told: list[str] = []

    def start(*arguments: Any) -> MLflowLogger:
        tracker = start_tracking(*arguments)
        send = tracker.client.log_batch

        def log_batch(run_id: str, **batch: Any) -> None:
            from mlflow.exceptions import MlflowException

            told.append(run_id)
            if len(told) == 1:
                raise MlflowException("gone")
            send(run_id, **batch)

        tracker.client.log_batch = log_batch
        return tracker

    monkeypatch.setattr("landmarks.training.engine.loggers.mlflow.start_tracking", start)
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    track = ("--track", "mlflow", "--track-uri", uri)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", cache, *SMALL, *track)
    assert outcome.status == 0, outcome.err
    assert "does not take metrics now; training goes on" in " ".join(outcome.err.split())
    with sqlite3.connect(tmp_path / "own.db") as store:
        steps = store.execute("select step from metrics where key = 'valid_loss' order by step").fetchall()
    store.close()
    assert steps == [(0,), (1,)]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--track", "wandb"), "Invalid value for '--track': 'wandb' is not 'mlflow': see landmarks train --help"),
        (("--track-uri", "http://127.0.0.1:9"), "--track-uri needs --track mlflow"),
    ],
)
def test_a_mistake_is_told_before_any_work(drawn, tmp_path, flags, sentence):
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", *flags)
    assert (outcome.status, outcome.complaint) == (2, sentence)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_only_the_first_process_is_tracked(drawn, tmp_path, monkeypatch, resume):
    run = tmp_path / "run"
    uri = ("--track", "mlflow", "--track-uri", "http://127.0.0.1:9")  # where nothing answers
    flags = ("--resume", run) if resume else (drawn, "--out", run, *uri)
    create_run(run, default_settings(drawn))
    (run / "tracking.json").write_text('{"uri": "http://127.0.0.1:9", "run_id": "1"}')
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with pytest.raises(SystemExit, match=r"^0$"):
        landmarks("train", *flags)


def test_a_server_that_is_not_there_is_told(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    flags = ("--track", "mlflow", "--track-uri", "http://127.0.0.1:9")
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", *flags)
    assert outcome.status == 2
    assert outcome.complaint.startswith("--track-uri http://127.0.0.1:9: no MLflow store answers there")
    assert not (tmp_path / "run").exists()
