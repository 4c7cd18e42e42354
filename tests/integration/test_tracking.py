"""`landmarks train --track mlflow`: into a local store, and to a server that may go away."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from commands import landmarks
from lightning_fabric.utilities.rank_zero import rank_zero_only
from tiny_backbone import TINY_BACKBONE

from landmarks import NO_TELEMETRY
from landmarks.cli.progress import RunProgress
from landmarks.training.config.settings import default_settings
from landmarks.training.engine.loggers.mlflow import MLflowLogger, start_tracking
from landmarks.training.runs.folder import create_run, read_history

pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow, of the extra track, is not installed")

SMALL = ("--model", "transfer", *TINY_BACKBONE, "--views", 2, "--batch-size", 16, "--epochs", 2)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with their store, which takes seconds to make."""
    return tmp_path_factory.mktemp("runs")


def told(run: Path, query: str) -> list[tuple[Any, ...]]:
    """What the store beside a run answers about it."""
    run_id = json.loads((run / "tracking.json").read_text())["run_id"]
    with closing(sqlite3.connect(run.parent / "mlflow.db")) as store:
        return store.execute(query.replace(" RUN", " run_uuid = ?"), (run_id,)).fetchall()


def test_a_run_is_told_to_a_local_store(drawn, cache, transfer_run, beside, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = beside / "local"
    outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *SMALL, "--track", "mlflow")
    assert outcome.status == 0, outcome.err
    note = json.loads((run / "tracking.json").read_text())
    assert note["uri"] == f"sqlite:///{beside / 'mlflow.db'}"
    losses = told(run, "select step, value from metrics where key = 'valid_loss' and RUN order by step")
    params = dict(told(run, "select key, value from params where RUN"))
    latest = dict(told(run, "select key, value from latest_metrics where RUN"))
    rows = read_history(run / "metrics.csv")
    assert losses == [(row.epoch, pytest.approx(row.valid_loss, rel=1e-4)) for row in rows]
    assert (params["method"], params["views"], params["epochs"]) == ("transfer", "2", "2")
    top1 = json.loads((run / "metrics_test.json").read_text())["top1"]
    assert latest["test/accuracy"] == pytest.approx(top1["value"])
    assert told(run, "select status from runs where RUN") == [("FINISHED",)]
    assert list((beside / "mlflow-files" / note["run_id"]).rglob("report.html"))


def test_a_resumed_run_goes_on_in_its_store(drawn, cache, transfer_run, beside, monkeypatch):
    run = beside / "resumed"
    track = ("--track", "mlflow", "--track-uri", f"sqlite:///{beside / 'mlflow.db'}")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(RunProgress, "step", stop)
        outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *SMALL, *track)
    assert outcome.status == 130, outcome.err
    note = (run / "tracking.json").read_text()
    assert told(run, "select status from runs where RUN") == [("KILLED",)]
    assert landmarks("train", "--resume", run).status == 0
    assert (run / "tracking.json").read_text() == note
    assert told(run, "select status from runs where RUN") == [("FINISHED",)]
    accuracies = told(run, "select step, value from metrics where key = 'valid_accuracy' and RUN order by step")
    rows = read_history(run / "metrics.csv")
    assert accuracies == [(row.epoch, pytest.approx(row.valid_accuracy, rel=1e-4)) for row in rows]
    files = (beside / "mlflow-files" / json.loads(note)["run_id"] / "artifacts").iterdir()
    assert {path.name for path in files} == {"report.html", "settings.json", "run.json"}


def test_mlflow_understands_that_it_is_not_to_call_home(monkeypatch):
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY as OFF

    monkeypatch.setenv(OFF.name, NO_TELEMETRY[OFF.name])
    assert OFF.get()


def test_a_server_keeps_the_files_in_a_place_of_its_own(drawn, tmp_path, monkeypatch):
    client = MagicMock()
    client.get_experiment_by_name.return_value = None
    monkeypatch.setattr("mlflow.MlflowClient", lambda tracking_uri: client)
    start_tracking(default_settings(drawn), tmp_path / "run", "http://127.0.0.1:9")
    client.create_experiment.assert_called_once_with("landmarks", artifact_location=None)


def test_a_server_that_goes_away_ends_no_training(drawn, cache, transfer_run, beside, monkeypatch):
    sent: list[str] = []

    def start(*arguments: Any) -> MLflowLogger:
        tracker = start_tracking(*arguments)
        send = tracker.client.log_batch

        def log_batch(run_id: str, **batch: Any) -> None:
            from mlflow.exceptions import MlflowException

            sent.append(run_id)
            if len(sent) == 1:
                raise MlflowException("gone")
            send(run_id, **batch)

        tracker.client.log_batch = log_batch
        return tracker

    monkeypatch.setattr("landmarks.training.engine.loggers.mlflow.start_tracking", start)
    run = beside / "left alone"
    track = ("--track", "mlflow", "--track-uri", f"sqlite:///{beside / 'mlflow.db'}")
    outcome = landmarks("train", drawn, "--out", run, "--cache", cache, *SMALL, *track)
    assert outcome.status == 0, outcome.err
    assert "does not take metrics now; training goes on" in " ".join(outcome.err.split())
    steps = told(run, "select step from metrics where key = 'valid_loss' and RUN order by step")
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
