"""`landmarks train`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from landmarks.cli.config import is_typed
from landmarks.cli.declare import Argument, Fields, Option, Verbosity, in_words
from landmarks.cli.inputs import require_output
from landmarks.cli.remote import local_data
from landmarks.errors import SettingsError, StoppedError, StorageError
from landmarks.training.config.settings import (
    DEFAULT_METHOD,
    AugmentSettings,
    DataSettings,
    LoopSettings,
    ModelKind,
    ModelSettings,
    OptimizationSettings,
    RunSettings,
    default_settings,
)

if TYPE_CHECKING:
    from landmarks.training.engine.loggers.mlflow import MLflowLogger
    from landmarks.training.engine.trained import TrainedRun

Given = dict[str, Any]
"""The given settings of a group; the others are those of the method or the preset."""

Track = Callable[[], "MLflowLogger | None"]
"""Opens the log of a run, or returns None where it is not tracked."""

_WAYS = {
    "scratch": default_settings(Path(), "scratch"),
    "transfer": default_settings(Path(), "transfer"),
    "--unfreeze": default_settings(Path(), "transfer", unfreeze=True),
}


def _defaults(group: str) -> dict[str, str]:
    """Return the defaults, in words, of the settings for which each way of training has its own."""
    values = {way: asdict(getattr(settings, group)) for way, settings in _WAYS.items()}
    varied = [name for name, value in values["scratch"].items() if any(o[name] != value for o in values.values())]
    return {name: "; ".join(f"{way} {in_words(of[name])}" for way, of in values.items()) for name in varied}


def train(
    data: Annotated[
        str | None,
        Argument("Folder with train/ and test/, or with one folder per class; or a table. A path, or s3://..."),
    ] = None,
    method: Annotated[
        ModelKind | None,
        Option("scratch trains the whole network, transfer a pretrained one.", default=DEFAULT_METHOD),
    ] = None,
    preset: Annotated[str | None, Option("Name of a preset, or a TOML file; other options override it.")] = None,
    unfreeze: Annotated[bool, Option("With --method transfer: fine-tune the backbone too.")] = False,
    out: Annotated[Path | None, Option("Run folder to make.", default="runs/METHOD-DATA")] = None,
    resume: Annotated[Path | None, Option("Run to continue, with its own settings.")] = None,
    find_rate: Annotated[
        Path | None,
        Option("Do not train: try learning rates, and write the curve of the loss to this PNG.", flag="--find-lr"),
    ] = None,
    cache: Annotated[
        Path | None, Option("Folder for decoded images and embeddings.", default="the user's cache folder")
    ] = None,
    track: Annotated[Literal["mlflow"] | None, Option("Log the run to MLflow.")] = None,
    track_uri: Annotated[
        str | None, Option("Server or database of --track.", default="mlflow.db beside the run")
    ] = None,
    *,
    model: Annotated[
        Given,
        Fields(ModelSettings, ("kind", "unfreeze"), {"kind": "--method"}, "Network", defaults=_defaults("model")),
    ],
    loading: Annotated[Given, Fields(DataSettings, title="Data", defaults=_defaults("loading"))],
    augment: Annotated[
        Given,
        Fields(
            AugmentSettings,
            flags={"names": "--augment", "augment": "--augment", "mix_probability": "--mix", "mix": "--mix"},
            title="Augmentation",
            defaults=_defaults("augment"),
        ),
    ],
    optimization: Annotated[
        Given, Fields(OptimizationSettings, title="Optimization", defaults=_defaults("optimization"))
    ],
    loop: Annotated[Given, Fields(LoopSettings, title="Duration and hardware", defaults=_defaults("loop"))],
    verbosity: Verbosity,
) -> None:
    """Train a recogniser from an image folder or table, evaluate it and write a report.

    DATA contains train/CLASS/image and test/CLASS/image, or CLASS/image, of which a fraction becomes the test
    split; or it is a table with the columns path and label (CSV or JSON Lines), or Parquet files. What is in
    object storage is copied into the cache once, and updated by the next run. Other settings default to those of
    the method, or of the preset.
    """
    groups = {"model": model, "loading": loading, "augment": augment, "optimization": optimization, "loop": loop}
    if resume is not None:
        _refuse_others(groups)
        run = _continue(resume, verbosity)
    else:
        if data is None:
            raise SettingsError("landmarks train needs `data`, or `resume` RUN")
        folder = local_data(data, cache, verbosity)
        settings = replace(_settings(folder, method, preset, unfreeze=unfreeze, groups=groups), cache=cache)
        if find_rate is not None:
            _find_rate(settings, find_rate, verbosity)
            return
        out = out or settings.default_out
        run = _train(settings, out, partial(_tracker, track, track_uri, settings, out), verbosity)
    for split in ("valid", "test"):
        top1 = run.metrics(split)["top1"]
        click.echo(f"{split} accuracy {top1['value']:.4f} (95 % interval {top1['low']:.4f} to {top1['high']:.4f})")
    click.echo(f"report: {run.folder.report}")


def _find_rate(settings: RunSettings, picture: Path, verbosity: Verbosity) -> None:
    for name in ("out", "track", "track_uri"):
        if is_typed(name):
            raise SettingsError(f"`find_rate` makes no run: leave out `{name}`")
    require_output("find_rate", picture, (".png",))
    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.rate_finder import find_rate
    from landmarks.training.reports.experiment_plots import rate_test
    from landmarks.training.reports.plots import save_figure

    with RunProgress(verbosity) as shown:
        found = find_rate(settings, logger=shown)
    save_figure(rate_test(found.rates, found.losses, found.suggestion), picture)
    click.echo(f"the loss falls fastest at a learning rate of {found.suggestion:.1e}")
    click.echo(f"curve: {picture}")


def _train(settings: RunSettings, out: Path, track: Track, verbosity: Verbosity) -> TrainedRun:
    from landmarks.training.engine.pipeline import train_run

    return _run(partial(train_run, settings, out), out, track, verbosity)


def _continue(out: Path, verbosity: Verbosity) -> TrainedRun:
    from landmarks.training.engine.loggers.mlflow import resume_tracking
    from landmarks.training.engine.pipeline import resume_run

    return _run(partial(resume_run, out), out, partial(resume_tracking, out), verbosity)


def _run(work: Callable[..., TrainedRun], out: Path, track: Track, verbosity: Verbosity) -> TrainedRun:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.devices import is_first_process

    tracker = track() if is_first_process() else None  # one run has one log
    with RunProgress(verbosity) as shown, _stoppable(out), tracker or nullcontext():
        if tracker:
            tracker.warn = shown.note
        return work(loggers=[shown, tracker] if tracker else [shown])


def _tracker(track: str | None, uri: str | None, settings: RunSettings, out: Path) -> MLflowLogger | None:
    if track is None:
        if uri is not None:
            raise SettingsError("`track_uri` needs `track` mlflow")
        return None
    from landmarks.training.engine.loggers.mlflow import start_tracking

    return start_tracking(settings, out, uri)


def _settings(
    data: Path,
    method: ModelKind | None,
    preset: str | None,
    *,
    unfreeze: bool,
    groups: Mapping[str, Given],
) -> RunSettings:
    from landmarks.training.config.presets import load_preset

    if preset is None:
        settings = default_settings(data, method or DEFAULT_METHOD, unfreeze=unfreeze)
    else:
        # A preset is made for one way of training; it would override the defaults of another.
        for name in ("method", "unfreeze"):
            if is_typed(name):
                raise SettingsError(f"`{name}` is set by `preset` {preset}: leave out one of the two")
        settings = load_preset(preset, data)
    changed = {name: replace(getattr(settings, name), **given) for name, given in groups.items()}
    return replace(settings, **changed)  # all at once: the groups must fit each other


def _refuse_others(groups: Mapping[str, Given]) -> None:
    """A resumed run keeps its settings; an option that would be ignored is refused instead."""
    own = ("data", "method", "preset", "unfreeze", "out", "cache", "track", "track_uri", "find_rate")
    others = [name for name in (*own, *chain.from_iterable(groups.values())) if is_typed(name)]
    if others:
        raise SettingsError(
            f"`resume` continues with the settings of the run: leave out `{others[0]}`, or train a new run"
        )


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    from landmarks.training.runs.folder import RunFolder

    way_on = f"landmarks train --resume {shlex.quote(str(out))}"
    try:
        yield
    except KeyboardInterrupt as stop:
        raise StoppedError(f"{out}: stopped: continue with {way_on}") from stop
    except StorageError as error:
        if not RunFolder(out).settings.is_file():  # nothing was kept: the same command begins again
            raise
        raise StorageError(f"{error} (continue with {way_on})") from error
