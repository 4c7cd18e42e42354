"""The report of a study: history, importance of the settings, the best trials."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from landmarks.training.reports.experiment_plots import importances, study_history
from landmarks.training.reports.page import drawing, write_page
from landmarks.training.tuning.tune import Study, first_points, space_of_study

SHOWN = 10
"""Number of best trials in the table."""

FEWEST = 5
"""Minimum number of finished trials for the importance of settings, which would be a guess with fewer."""


def importance(study: Study) -> dict[str, float]:
    """Return the importance of each setting, summing to 1, most important first; empty with few trials.

    The measure is PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255): how far the settings of the
    better trials differ from those of all.
    """
    if len(study.trials(TrialState.COMPLETE)) < FEWEST:
        return {}
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        return optuna.importance.get_param_importances(study.optuna)


def way_on(data: str | Path, preset: Path, seed: int) -> str:
    """Return the command that trains with the best settings, on the split of the study, which `seed` draws."""
    flag = f" --seed {seed}" if seed else ""
    return f"landmarks train {shlex.quote(str(data))} --preset {shlex.quote(str(preset))}{flag}"


def write_study_report(study: Study) -> None:
    """Write `report.html` of a study, atomically; does nothing if no trial has finished.

    Raises:
        StorageError: The file cannot be written.
    """
    best = study.best()
    if best is None:
        return
    metric = study.settings.metric
    lower = metric == "loss"
    done = study.trials(TrialState.COMPLETE)
    stopped = study.trials(TrialState.PRUNED)
    label = f"validation {metric}"
    history = study_history(_values(done), _values(stopped), label, lower=lower)
    shares = importance(study)
    usual = first_points(study.settings)[0]
    ranked = sorted(done, key=lambda trial: _value(trial) if lower else -_value(trial))
    values: dict[str, object] = {
        "title": f"Tuning {study.settings.method} on {study.settings.data.resolve().name}",
        "metric": metric,
        "best": best,
        "usual": next((trial for trial in done if trial.params == usual), None),
        "counts": (len(done), len(stopped), len(study.trials(TrialState.FAIL))),
        "history": drawing(history, f"{label} of {len(done)} trials; the best is {best.value:.4f}."),
        "importance": drawing(
            importances(shares),
            "Importance of the settings: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        )
        if shares
        else None,
        "names": [dimension.name for dimension in space_of_study(study.settings)],
        "ranked": [(trial, _texts(trial.params)) for trial in ranked[:SHOWN]],
        "way_on": way_on(study.settings.data, study.preset, study.settings.seed),
    }
    write_page(study.report, "tune_report.html.jinja", values)


def _value(trial: FrozenTrial) -> float:
    return float(trial.value if trial.value is not None else "nan")


def _values(trials: list[FrozenTrial]) -> dict[int, float]:
    """Map trials to their metric; a stopped trial has the last one it reported, if any."""
    return {trial.number: _value(trial) for trial in trials if trial.value is not None}


def _texts(params: Mapping[str, object]) -> dict[str, str]:
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in params.items()}
