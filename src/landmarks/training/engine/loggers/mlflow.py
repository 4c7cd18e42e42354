"""Runs logged to MLflow as they train: settings, curves, final metrics and the report.

The store is a local SQLite file next to the runs, or a server by its URI. The URI and the id of the run in MLflow
are kept in `tracking.json` in the run folder, so a resumed run continues there. A server that goes away ends no
training: what it missed is sent with the next epoch.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from landmarks.errors import SettingsError
from landmarks.files.atomic import write_json
from landmarks.training.config.settings import RunSettings
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.trained import SPLITS, TrainedRun
from landmarks.training.runs.experiments import settings_as_text
from landmarks.training.runs.folder import EpochRow, RunFolder, open_run, read_json

EXPERIMENT = "landmarks"
"""Name of the experiment that all runs belong to."""

NOTE = "tracking.json"

CURVES = (
    *("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"),
    *("learning_rate", "images_per_second"),
)
"""What is logged per epoch."""

# No telemetry to the makers of MLflow; and a server that is not there is given up in seconds, not minutes.
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


@dataclass
class MLflowLogger(Logger):
    """Logs one run to MLflow; use it as a context manager around the training, which sets the final status.

    Attributes:
        client: An `mlflow.MlflowClient`.
        uri: Of the store.
        run_id: Of the run in MLflow.
        folder: The run folder.
        fine_tuning: Whether a head is trained first; its epochs are logged under `head/`.
        warn: Called with a sentence while the store does not answer.
    """

    client: Any
    uri: str
    run_id: str
    folder: RunFolder
    fine_tuning: bool = False
    warn: Callable[[str], None] = lambda text: None  # noqa: ARG005
    _unsent: list[Any] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        self._try(lambda: self.client.set_terminated(self.run_id, status))

    def stage(self, name: str) -> None:  # noqa: ARG002
        """Note where the run is logged, once its folder is there: it may be stopped before its first epoch."""
        if not (self.folder.root / NOTE).is_file():
            write_json(self.folder.root / NOTE, {"uri": self.uri, "run_id": self.run_id})

    def epoch(self, row: EpochRow) -> None:
        """Log the metrics of an epoch."""
        # The head learns from embeddings: its epochs have no image size.
        part = "head/" if self.fine_tuning and row.size == 0 else ""
        self._log({f"{part}{name}": float(getattr(row, name)) for name in CURVES}, row.epoch)

    def finish(self, run: TrainedRun) -> None:
        """Log the final metrics, and upload the report and the settings."""
        metrics = {"seconds": float(run.info.get("seconds", 0.0))}
        for split in SPLITS:
            found = run.metrics(split)
            if found:
                top1 = found["top1"]
                metrics |= {f"{split}/loss": found["loss"], f"{split}/accuracy": top1["value"]}
                metrics |= {f"{split}/accuracy_{end}": top1[end] for end in ("low", "high")}
        self._log(metrics, 0)
        for path in (run.folder.report, run.folder.settings, run.folder.info):
            self._try(partial(self.client.log_artifact, self.run_id, str(path)))

    def _log(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415 - takes seconds to import

        now = round(time.time() * 1000)
        self._unsent += [Metric(name, value, now, step) for name, value in metrics.items()]
        if self._try(lambda: self.client.log_batch(self.run_id, metrics=self._unsent)):
            self._unsent = []

    def _try(self, send: Callable[[], object]) -> bool:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - takes seconds to import

        try:
            with _quiet():
                send()
        except MlflowException:
            self.warn(f"tracking: {self.uri} does not take metrics now; training goes on")
            return False
        return True


def start_tracking(settings: RunSettings, out: Path, uri: str | None = None) -> MLflowLogger:
    """Open a run in MLflow.

    Args:
        settings: Of the run; they become its parameters.
        out: The run folder to come.
        uri: Of the store: a server (`http://...`) or a database (`sqlite:///...`). None takes the variable
            MLFLOW_TRACKING_URI, else `mlflow.db` next to the run folder.

    Raises:
        SettingsError: The store cannot be reached.
        ModuleNotFoundError: MLflow is not installed.
    """
    beside = out.resolve().parent
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
    if chosen.startswith("sqlite:///"):
        Path(chosen.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with _reached(chosen) as client:
        found = client.get_experiment_by_name(EXPERIMENT)
        # A server keeps files in a place of its own.
        files = str(beside / "mlflow-files") if chosen.startswith("sqlite:") else None
        number = found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=files)
        run_id = client.create_run(number, run_name=out.name).info.run_id
        from mlflow.entities import Param  # noqa: PLC0415 - takes seconds to import

        params = {"data": str(settings.data), **settings_as_text(settings.to_dict())}
        client.log_batch(run_id, params=[Param(name, value) for name, value in params.items() if value])
        return MLflowLogger(client, chosen, run_id, RunFolder(out), settings.model.unfreeze)


def resume_tracking(out: Path) -> MLflowLogger | None:
    """Continue the log of a resumed run, or return None where it was not tracked.

    Raises:
        SettingsError: The store cannot be reached.
    """
    if not (out / NOTE).is_file():
        return None
    note, (folder, settings) = read_json(out / NOTE), open_run(out)
    with _reached(str(note["uri"])) as client:
        client.update_run(note["run_id"], status="RUNNING")
        return MLflowLogger(client, str(note["uri"]), str(note["run_id"]), folder, settings.model.unfreeze)


@contextmanager
def _reached(uri: str) -> Iterator[Any]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _quiet():
        from mlflow import MlflowClient  # noqa: PLC0415 - takes seconds to import
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - likewise

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield MlflowClient(tracking_uri=uri)
        except MlflowException as error:
            raise SettingsError(
                f"`track_uri` {uri}: no MLflow store answers there: start the server, or check the address"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the deprecation warnings of MLflow and its libraries."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield
