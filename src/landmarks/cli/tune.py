"""`landmarks tune`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from landmarks.cli.declare import Data, Fields, Option
from landmarks.cli.remote import local_data
from landmarks.errors import SettingsError, StoppedError, counted
from landmarks.training.config.jobs import TuneSettings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def tune(
    data: Data,
    out: Annotated[Path | None, Option("Study folder.", default="runs/tune-METHOD-DATA")] = None,
    time: Annotated[str | None, Option("Start no trial after this time, e.g. 45 (minutes), 30m or 2h.")] = None,
    *,
    chosen: Annotated[
        dict[str, Any],
        Fields(TuneSettings, omit=("data", "minutes"), flags={"minutes": "--time"}),
    ],
) -> None:
    """Tune hyperparameters on the validation images of a data set.

    Run it again to continue a study; two processes share the work (give each --threads 1). The best settings
    become a preset for landmarks train.
    """
    local = local_data(data, chosen.get("cache"))
    settings = replace(TuneSettings(local, **chosen), minutes=_minutes(time))

    from landmarks.training.tuning.report import way_on, write_study_report
    from landmarks.training.tuning.tune import tune as run_study

    folder = out or Path("runs") / f"tune-{settings.method}-{local.resolve().name}"
    try:
        study = run_study(settings, folder, _report)
    except KeyboardInterrupt as stop:
        raise StoppedError(f"{folder}: stopped: run the same command again to continue the study") from stop
    write_study_report(study)
    best = study.best()
    if best is None:
        click.echo(
            f"{study.finished} of {settings.trials} trials are done: run the same command again to continue"
        )
        return
    click.echo(
        f"best of {counted(study.finished, 'trial')}: {settings.metric} {best.value:.4f}, trial {best.number}"
    )
    click.echo(f"train with it: {way_on(data, study.preset, settings.seed)}")
    click.echo(f"report: {study.report}")


def _report(trial: FrozenTrial) -> None:
    settings = "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.params.items()
    )
    reached = f"{trial.value:.4f}" if trial.value is not None else "failed"
    word = "stopped early at " if trial.state.name == "PRUNED" and trial.value is not None else ""
    seconds = trial.user_attrs.get("seconds", 0)
    click.echo(f"trial {trial.number:3d}  {word}{reached}  {seconds:.0f} s  {settings}", err=True)


def _minutes(text: str | None) -> float | None:
    """Read 45, 30m or 2h as minutes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise SettingsError(f"`time` must be minutes, or a number with s, m or h as in 30m or 2h, not {text!r}")
    return float(match[1]) * {"s": 1 / 60, "m": 1.0, "": 1.0, "h": 60.0}[match[2]]
