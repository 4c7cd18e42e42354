"""`landmarks train`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landmarks.errors import SettingsError, StoppedError

if TYPE_CHECKING:
    from landmarks.training.config.settings import RunSettings
    from landmarks.training.engine.loggers.mlflow import MLflowLogger


def train(
    data: Annotated[
        Path | None, typer.Argument(help="Folder with train/ and test/, or with one folder a class.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make. [default: runs/MODEL-DATA]")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings by name, or a TOML file; other flags change them.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="scratch or transfer. [default: scratch]")] = None,
    backbone: Annotated[str | None, typer.Option(help="Pretrained network of transfer.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Local weights file of the backbone.")] = None,
    unfreeze: Annotated[bool | None, typer.Option("--unfreeze", help="Fine-tune the backbone too.")] = None,
    init: Annotated[Path | None, typer.Option(help="Run whose weights this one starts from.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Run to continue; nothing else is needed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step, over all devices.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    backbone_rate: Annotated[float | None, typer.Option(help="Rate of the backbone as a share of it.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of weights, not of norms and biases.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam or adamw.")] = None,
    schedule: Annotated[str | None, typer.Option(help="plateau, cosine or onecycle.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target spread out.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of the embedding dropped.")] = None,
    head: Annotated[str | None, typer.Option(help="linear, or cosine for very many classes.")] = None,
    sub_centers: Annotated[int | None, typer.Option(help="Centres a class of a cosine head.")] = None,
    scale: Annotated[float | None, typer.Option(help="What a cosine head multiplies cosines by.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Radians by which a cosine head makes the target harder (ArcFace).")
    ] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the average of the weights; 0 for none.")] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between: resized-crop, crop, flip, jitter, rotation, trivial, rand, erasing, "
            "mixup, cutmix."
        ),
    ] = None,
    crop_scale: Annotated[float | None, typer.Option(help="Smallest share resized-crop keeps.")] = None,
    mix: Annotated[float | None, typer.Option(help="Share of the batches that are blended.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Crop sizes in pixels, in turn, e.g. 96,128,160.")] = None,
    views: Annotated[
        int | None, typer.Option(help="Embedded views of each picture, for a frozen backbone.")
    ] = None,
    valid_size: Annotated[float | None, typer.Option(help="Share kept for validation.")] = None,
    sampler: Annotated[str | None, typer.Option(help="plain or balanced.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many training pictures.")] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without improvement before stopping.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32-true, bf16-mixed or 16-mixed.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="auto, cpu, gpu, ...")] = None,
    devices: Annotated[int | None, typer.Option(help="How many devices of each machine.")] = None,
    nodes: Annotated[int | None, typer.Option(help="How many machines; see docs/scaling.md.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads on a CPU; 0 for all cores.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures and embeddings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of split, weights and augmentation.")] = None,
    track: Annotated[str | None, typer.Option(help="Tell the run to mlflow while it goes.")] = None,
    track_uri: Annotated[
        str | None, typer.Option(help="Server or database of --track. [default: mlflow.db beside the run]")
    ] = None,
) -> None:
    """Train a recogniser from a folder of pictures, measure it and write a report.

    DATA holds train/CLASS/picture and test/CLASS/picture, or CLASS/picture, of which a share becomes the test.
    """
    flags = {key: value for key, value in locals().items() if value is not None}
    _train(flags)


GROUPS = {
    "model": ("backbone", "weights", "init", "views", "dropout", "head", "sub_centers", "scale", "margin"),
    "loading": ("batch_size", "valid_size", "workers", "limit", "sampler", "seed"),
    "augment": ("augment", "crop_scale", "mix", "sizes"),
    "optimization": (
        "optimizer",
        "learning_rate",
        "backbone_rate",
        "weight_decay",
        "label_smoothing",
        "schedule",
        "ema",
    ),
    "loop": ("epochs", "patience", "max_minutes", "precision", "accelerator", "devices", "threads", "nodes"),
}
"""Which flags belong to which group of `RunSettings`."""

RENAMED = {"augment": "names", "mix": "mix_probability"}


def _train(flags: dict[str, Any]) -> None:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.loggers.mlflow import resume_tracking
    from landmarks.training.engine.pipeline import resume_run, train_run

    with RunProgress() as shown:
        if "resume" in flags:
            out: Path = flags["resume"]
            _refuse_others(flags)
            tracker, work = resume_tracking(out), partial(resume_run, out)
        else:
            settings = _settings(flags)
            out = flags.get("out") or Path("runs") / f"{settings.model.kind}-{settings.data.resolve().name}"
            tracker, work = _tracker(flags, settings, out), partial(train_run, settings, out)
        with _stoppable(out), tracker or nullcontext():
            if tracker:
                tracker.warn = shown.stage
            run = work(loggers=[shown, tracker] if tracker else [shown])
    for split in ("valid", "test"):
        top1 = run.metrics(split)["top1"]
        typer.echo(f"{split} accuracy {top1['value']:.4f} (95 % interval {top1['low']:.4f} to {top1['high']:.4f})")
    typer.echo(f"report: {run.folder.report}")


def _tracker(flags: dict[str, Any], settings: RunSettings, out: Path) -> MLflowLogger | None:
    from landmarks.training.engine.loggers.mlflow import start_tracking

    if flags.get("track", "mlflow") != "mlflow":
        raise SettingsError(f"--track must be mlflow, not {flags['track']!r}")
    if "track" not in flags:
        if "track_uri" in flags:
            raise SettingsError("--track-uri needs --track mlflow")
        return None
    return start_tracking(settings, out, flags.get("track_uri"))


def _settings(flags: dict[str, Any]) -> RunSettings:
    from landmarks.training.config.presets import load_preset
    from landmarks.training.config.settings import default_settings

    if "data" not in flags:
        raise SettingsError("landmarks train needs a data folder, or --resume RUN")
    if "preset" in flags:
        _refuse_kind(flags)
        settings = load_preset(flags["preset"], flags["data"])
    else:
        settings = default_settings(
            flags["data"], flags.get("model", "scratch"), unfreeze=flags.get("unfreeze", False)
        )
    groups = {}
    for group, names in GROUPS.items():
        changes = {RENAMED.get(name, name): _value(name, flags[name]) for name in names if name in flags}
        groups[group] = replace(getattr(settings, group), **changes)
    return replace(settings, cache=flags.get("cache"), **groups)  # at once: the groups must fit each other


def _refuse_kind(flags: dict[str, Any]) -> None:
    """A preset is made for one way of training; the usual settings of another would be lost in it."""
    for name in ("model", "unfreeze"):
        if name in flags:
            raise SettingsError(f"--{name} is said by --preset {flags['preset']}: leave out one of the two")


def _refuse_others(flags: dict[str, Any]) -> None:
    """A resumed run keeps its settings; a flag that would be ignored is refused instead."""
    others = [name for name in flags if name != "resume"]
    if others:
        shown = "DATA" if others[0] == "data" else "--" + others[0].replace("_", "-")
        raise SettingsError(
            f"--resume goes on with the settings of the run: leave out {shown}, or train a new run"
        )


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        way_on = f"landmarks train --resume {shlex.quote(str(out))}"
        raise StoppedError(f"{out}: stopped: continue with {way_on}") from stop


def _value(name: str, given: Any) -> Any:
    if name == "augment":
        return tuple(word.strip() for word in given.split(",") if word.strip())
    if name == "sizes":
        try:
            return tuple(int(word) for word in given.split(","))
        except ValueError as error:
            raise SettingsError(f"--sizes must be numbers with commas between, not {given!r}") from error
    return given
