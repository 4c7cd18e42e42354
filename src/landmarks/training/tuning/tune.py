"""Hyperparameter tuning: a study of many short runs.

A study is a folder:

```
STUDY/
  study.db       every trial with its settings and metrics (SQLite, by Optuna)
  trials/NNN/    the run folder of each trial, without its weights
  report.html    history, importance of the settings, the best trials
  best.toml      the best settings, for landmarks train --preset
```

Trials are judged on the validation images only; none reads the test split. The first has the default settings, the
next are spread over the space, and all others are sampled by the tree-structured Parzen estimator (Bergstra et al.
2011, https://papers.nips.cc/paper/4443). A trial that lags behind the median is stopped early (Golovin et al.
2017, https://doi.org/10.1145/3097983.3098043). A call continues where the last one stopped or was killed, and
several processes may work on one study.
"""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from landmarks.errors import DataError, LandmarksError, SettingsError, StorageError, TrainingError
from landmarks.files.atomic import new_folders, storage_errors
from landmarks.training.config.jobs import TuneSettings
from landmarks.training.config.presets import changed, write_preset
from landmarks.training.config.settings import (
    RunSettings,
)
from landmarks.training.data.folders import require_outside
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.pipeline import train_run
from landmarks.training.runs.folder import EpochRow, RunFolder, read_json, remove_weights, require_own_report
from landmarks.training.tuning.search_space import Space, Value, point_of, space_of, spread_points, suggest

DATABASE = "study.db"

_WAIT = 60  # seconds, for another writer

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TENTHS = 10
"""Number of points of its training at which a trial is compared with the others, whatever its number of epochs."""

SPREAD_TRIALS = 9
"""Number of trials after the first that are spread evenly over the space: the estimator starts with ten."""

UNPRUNED_TRIALS = 5
UNPRUNED_TENTHS = 3
HEARTBEAT_SECONDS = 30
"""Heartbeat interval of a running trial, in seconds; after twice that without one it counts as failed."""


@dataclass(frozen=True)
class Study:
    """A study and its folder."""

    root: Path
    settings: TuneSettings
    optuna: optuna.Study

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def preset(self) -> Path:
        """The best settings."""
        return self.root / "best.toml"

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in these states, or all, in the order of their numbers."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    @property
    def finished(self) -> int:
        """Number of finished trials, including those stopped early."""
        return len(self.trials(*FINISHED))

    def best(self) -> FrozenTrial | None:
        """Return the best trial, or None if none has finished."""
        return self.optuna.best_trial if self.trials(TrialState.COMPLETE) else None

    def folder(self, number: int) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self.root / "trials" / f"{number:03d}")


def tune(settings: TuneSettings, out: Path, on_trial: Callable[[FrozenTrial], None] | None = None) -> Study:
    """Start or continue a study, until its trials or the time of this call are used up.

    Args:
        settings: Settings of the study.
        out: Its folder.
        on_trial: Called with each trial of this call when it ends.

    Returns:
        The study; its best settings are written as a preset.

    Raises:
        SettingsError: The folder has a study of another kind.
        DataError: The images are not those of the study's earlier trials.
        LandmarksError: An error of a run; a run whose loss is not finite only ends its trial.
    """
    require_outside(settings.data, out, "out")
    require_own_report(out, DATABASE)
    started = time.monotonic()
    # Optuna's heartbeat is experimental, and says so.
    quiet = warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)
    with new_folders(out), quiet, _discarded_if_new(out):
        study = open_study(settings, out)

        def objective(trial: optuna.Trial) -> float:
            return _run_trial(study, trial)

        callbacks = [lambda _, trial: on_trial(trial)] if on_trial else []
        first = first_points(settings)
        while study.finished < settings.trials:
            if settings.minutes is not None and time.monotonic() - started >= 60 * settings.minutes:
                break
            _enqueue_next(study, first)
            study.optuna.optimize(objective, n_trials=1, callbacks=callbacks)
            _write_best(study)
        for killed in study.trials(TrialState.FAIL):
            remove_weights(study.folder(killed.number))
    return study


@contextmanager
def _discarded_if_new(out: Path) -> Iterator[None]:
    """Remove a study whose first trial cannot run, so that its path is free again for other settings."""
    is_new = not (out / DATABASE).exists()
    try:
        yield
    except LandmarksError:
        if is_new and not any((out / "trials").glob("*/*")):  # nor is another process at work
            (out / DATABASE).unlink(missing_ok=True)
            with suppress(OSError):
                (out / "trials").rmdir()
        raise


def open_study(settings: TuneSettings, out: Path) -> Study:
    """Open a study, or create it.

    Raises:
        SettingsError: The folder has a study of another kind.
        StorageError: The study cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    database = out / DATABASE
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT)) as opened:
            opened.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise StorageError(f"{database}: not the database of a study ({error}): choose another `out`") from error
    asked = {
        "data": str(settings.data.resolve()),
        "model": settings.method,
        "metric": settings.metric,
        "epochs": settings.epochs,
        "limit": settings.limit,
        "seed": settings.seed,
    }
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{database.resolve()}",
            engine_kwargs={"connect_args": {"timeout": _WAIT}},
            heartbeat_interval=HEARTBEAT_SECONDS,
        )
        found = optuna.create_study(
            storage=storage,
            study_name="landmarks",
            direction="minimize" if settings.metric == "loss" else "maximize",
            pruner=optuna.pruners.MedianPruner(UNPRUNED_TRIALS, UNPRUNED_TENTHS),
            load_if_exists=True,
        )
        for name, value in asked.items():
            known = found.user_attrs.get(name, value)
            if known != value:
                raise SettingsError(
                    f"{out}: this study was begun with `{'method' if name == 'model' else name}` {known}, not "
                    f"{value}: choose another `out`, or continue with the same settings"
                )
            found.set_user_attr(name, value)
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"{database}: cannot be used ({error}): choose another `out`") from error
    return Study(out, settings, found)


def first_points(settings: TuneSettings) -> list[dict[str, Value]]:
    """Return what a study tries first: the default settings, then points spread over the space."""
    space = space_of_study(settings)
    return [point_of(settings.start(), space), *spread_points(space, SPREAD_TRIALS, settings.seed)]


def _enqueue_next(study: Study, points: Sequence[Mapping[str, Value]]) -> None:
    """Let the next trial be the first of these points that no trial has; that of a killed trial is tried again."""
    tried = [
        trial.system_attrs.get("fixed_params", trial.params)
        for trial in study.trials()
        if trial.state != TrialState.FAIL
    ]
    point = next((point for point in points if point not in tried), None)
    if point is not None:
        study.optuna.enqueue_trial(dict(point))


def settings_of(study: Study, trial: FrozenTrial) -> RunSettings:
    """Return the settings of a trial, without the limits that all trials share."""
    return changed(
        study.settings.start(), suggest(optuna.trial.FixedTrial(trial.params), space_of_study(study.settings))
    )


def _write_best(study: Study) -> None:
    """Write the best settings as a preset; does nothing if no trial has finished."""
    best = study.best()
    if best is None:
        return
    settings = study.settings
    comment = (
        f"Found by landmarks tune on {settings.data.resolve().name}: trial {best.number} of {study.finished}, "
        f"validation {settings.metric} {best.value:.4f}."
    )
    write_preset(study.preset, settings_of(study, best), comment)


def _run_trial(study: Study, trial: optuna.Trial) -> float:
    goal = study.settings
    # Seeded by the number of the trial: a resumed study samples the same as an uninterrupted one, and two
    # processes never sample the same.
    study.optuna.sampler = optuna.samplers.TPESampler(seed=(goal.seed * 1_000_003 + trial.number) % 2**32)
    settings = goal.of_trial(suggest(trial, space_of_study(goal)))
    trial.set_user_attr("seed", settings.loading.seed)
    folder = study.folder(trial.number)
    pruner = _Pruner(study, trial, settings.loop.epochs)
    started = time.perf_counter()
    try:
        run = train_run(settings, folder.root, loggers=[pruner], splits=("valid",))
        metrics = run.metrics("valid")
    except TrainingError as error:
        trial.set_user_attr("failure", str(error))
        raise optuna.TrialPruned from error
    finally:
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 1))
        remove_weights(folder)
    for name, value in (("loss", metrics["loss"]), ("accuracy", metrics["top1"]["value"])):
        trial.set_user_attr(name, value)
    return float(metrics["loss"] if goal.metric == "loss" else metrics["top1"]["value"])


class _Pruner(Logger):
    """Stops a trial that is behind the median of the others, or on other pictures."""

    def __init__(self, study: Study, trial: optuna.Trial, epochs: int) -> None:
        self._study, self._trial, self._epochs = study, trial, epochs

    def stage(self, name: str) -> None:  # noqa: ARG002
        """Compare the pictures with those of the other trials, as soon as they are known."""
        info = self._study.folder(self._trial.number).info
        if info.is_file():
            _require_same_pictures(self._study, read_json(info)["data"]["fingerprint"])

    def epoch(self, row: EpochRow) -> None:
        """Report the metric of an epoch to the study; stop the trial if it is behind the others."""
        tenth = (row.epoch + 1) * TENTHS // self._epochs
        if tenth > row.epoch * TENTHS // self._epochs:
            self._trial.report(
                row.valid_loss if self._study.settings.metric == "loss" else row.valid_accuracy, tenth
            )
            # At the end, stopping saves nothing.
            if row.epoch + 1 < self._epochs and self._trial.should_prune():
                raise optuna.TrialPruned


def _require_same_pictures(study: Study, fingerprint: str) -> None:
    known = study.optuna.user_attrs.get("fingerprint", fingerprint)
    if known != fingerprint:
        raise DataError(
            f"{study.settings.data}: these are not the pictures of the earlier trials of {study.root}: put them "
            "back, or choose another `out`"
        )
    study.optuna.set_user_attr("fingerprint", fingerprint)


def space_of_study(settings: TuneSettings) -> Space:
    """Return the settings that a study changes."""
    return space_of(settings.method, ("epochs",) if settings.epochs is not None else ())
