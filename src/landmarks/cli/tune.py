"""`landmarks tune`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landmarks.errors import SettingsError, StoppedError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def tune(
    data: Annotated[Path, typer.Argument(help="Folder with train/ and test/, or with one folder a class.")],
    out: Annotated[Path | None, typer.Option(help="Study folder. [default: runs/tune-MODEL-DATA]")] = None,
    model: Annotated[str, typer.Option(help="scratch or transfer.")] = "transfer",
    trials: Annotated[int, typer.Option(help="Finished trials of the whole study.")] = 30,
    minutes: Annotated[
        str | None, typer.Option("--time", help="Begin no trial after this time, e.g. 45, 30m or 2h.")
    ] = None,
    metric: Annotated[str, typer.Option(help="Sought on validation: loss or accuracy.")] = "loss",
    epochs: Annotated[int | None, typer.Option(help="Epochs of every trial. [default: tuned or usual]")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many training pictures a trial.")] = None,
    threads: Annotated[int, typer.Option(help="Threads on a CPU; 0 for one a core.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures and embeddings.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, of every trial and of the search.")] = 0,
) -> None:
    """Look for the settings that serve a data set best, on its validation pictures.

    Call it again to go on with a study; two calls at once share the work (give each --threads 1). The best
    settings become a preset for landmarks train.
    """
    from landmarks.training.tuning.report import write_study_report
    from landmarks.training.tuning.tune import TuneSettings
    from landmarks.training.tuning.tune import tune as run_study

    given: dict[str, Any] = {"model": model, "metric": metric}
    settings = TuneSettings(
        data,
        trials=trials,
        minutes=_minutes(minutes),
        epochs=epochs,
        limit=limit,
        seed=seed,
        threads=threads,
        cache=cache,
        **given,
    )
    folder = out or Path("runs") / f"tune-{model}-{data.resolve().name}"
    try:
        study = run_study(settings, folder, _tell)
    except KeyboardInterrupt as stop:
        raise StoppedError(f"{folder}: stopped: call the same command again to go on with the study") from stop
    write_study_report(study)
    best = study.best()
    if best is None:
        typer.echo(f"{study.finished} of {trials} trials are done: call the same command again to go on")
        return
    typer.echo(f"best of {study.finished} trials: {metric} {best.value:.4f}, trial {best.number}")
    typer.echo(
        f"train with it: landmarks train {shlex.quote(str(data))} --preset {shlex.quote(str(study.preset))}"
    )
    typer.echo(f"report: {study.report}")


def _tell(trial: FrozenTrial) -> None:
    settings = "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.params.items()
    )
    reached = f"{trial.value:.4f}" if trial.value is not None else ""
    word = "stopped early at " if trial.state.name == "PRUNED" else ""
    seconds = trial.user_attrs.get("seconds", 0)
    typer.echo(f"trial {trial.number:3d}  {word}{reached}  {seconds:.0f} s  {settings}", err=True)


def _minutes(text: str | None) -> float | None:
    """Read 45, 30m or 2h as minutes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise SettingsError(f"--time must be minutes, or a number with s, m or h as in 30m or 2h, not {text!r}")
    return float(match[1]) * {"s": 1 / 60, "m": 1.0, "": 1.0, "h": 60.0}[match[2]]
