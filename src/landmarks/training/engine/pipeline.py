"""One run, from the data folder to the report: `train_run` and `resume_run`."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from landmarks.errors import LandmarksError, RunError, SettingsError, counted
from landmarks.files.atomic import new_folders, write_json, write_text
from landmarks.training.config.settings import RunSettings, default_settings
from landmarks.training.data.cache import resolved
from landmarks.training.data.folders import require_outside
from landmarks.training.data.loaders import Data, Loader, prepare_data
from landmarks.training.engine.devices import (
    check_processes,
    is_first_process,
    launch_fabric,
    make_fabric,
    set_threads,
    torch_as_before,
)
from landmarks.training.engine.distributed import from_checkpoint, train_distributed, train_images
from landmarks.training.engine.loggers.base import Logger, Loggers
from landmarks.training.engine.train import optimize
from landmarks.training.engine.trained import (
    SPLITS,
    TrainedRun,
    evaluate_run,
    load_run,
    require_data,
    require_same_data,
    trained_before,
)
from landmarks.training.models.features import Views, compute_embeddings, embedding_loader
from landmarks.training.models.networks import NetworkOfRun, build_network, require_sizes
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.models.weights import load_weights, save_weights
from landmarks.training.runs.folder import (
    RunFolder,
    create_run,
    discard_without_weights,
    has_weights,
    library_versions,
    locked_run,
    machine,
    open_run,
    read_history,
    read_info,
    write_history,
)


def train_run(
    settings: RunSettings, out: Path, *, loggers: Sequence[Logger] = (), splits: Sequence[str] = SPLITS
) -> TrainedRun:
    """Train, evaluate and report a new run.

    Args:
        settings: Everything that defines the run.
        out: The run folder to make.
        loggers: Get its events: see `landmarks.training.engine.loggers.base.Logger`.
        splits: Which of `valid` and `test` are evaluated at the end; a run that is one of many to choose from
            leaves `test` alone.

    Returns:
        The finished run, with its best weights.

    Raises:
        LandmarksError: As the parts do. A run that was stopped can be continued with `resume_run` from its last
            finished epoch.
    """
    if not is_first_process():
        _assist(RunFolder(out), settings, resume=False)
    require_outside(settings.data, out, "out")
    with new_folders(out):
        folder = create_run(out, settings)
        try:
            return _complete(folder, settings, Loggers(*loggers), resume=False, splits=splits)
        except (LandmarksError, OSError) as error:
            if not isinstance(error, RunError):  # which says that the folder is that of another process
                discard_without_weights(folder)  # not before its lock is released: it has files of its own
            raise


def resume_run(out: Path, *, loggers: Sequence[Logger] = ()) -> TrainedRun:
    """Continue a run that was stopped, to the same metrics as if it had not been.

    Raises:
        RunError: The folder is not a run, another process is training it, or its data changed.
        DataError: Its data is not there.
        ModelError: Its checkpoint is damaged.
    """
    folder, settings = open_run(out)
    if not is_first_process():
        _assist(folder, settings, resume=True)
    return _complete(folder, settings, Loggers(*loggers), resume=True, splits=SPLITS)


def _seconds_so_far(folder: RunFolder) -> float:
    try:
        return sum(row.seconds for row in read_history(folder.history))
    except RunError:  # damaged; the checkpoint has the same rows, and they are written again
        return 0.0


@torch_as_before()
def _complete(
    folder: RunFolder, settings: RunSettings, logger: Logger, *, resume: bool, splits: Sequence[str]
) -> TrainedRun:
    """Do what a run lacks: the whole of it, or what an earlier attempt left."""
    with locked_run(folder):
        if resume:
            require_data(folder, settings)
        started = time.perf_counter() - _seconds_so_far(folder)
        if begun := resume and folder.checkpoint.is_file():
            settings = from_checkpoint(settings, folder)
        data, network = prepare(settings, logger, folder)
        info = _describe(data, network)
        if resume and folder.info.is_file():
            before = read_info(folder)
            require_same_data(folder, before, data)
            if has_weights(folder):  # else the run starts anew
                kept = ("versions", "machine", "started", "seconds")
                info |= {key: before[key] for key in kept if key in before}
        write_json(folder.info, info)
        unfreeze = settings.model.unfreeze
        # Fine-tuning that has begun, here or in the run it starts from, has left the head of before behind.
        if isinstance(network.model, TransferModel) and not (unfreeze and (begun or network.has_head)):
            _train_head(folder, settings, data, network, logger, resume=resume)
        if settings.model.kind == "scratch" or unfreeze:
            logger.stage("training")
            if settings.loop.processes > 1:
                train_distributed(folder.root, settings, resume=resume, logger=logger)
            else:
                fabric = launch_fabric(settings.loop, settings.model)
                train_images(fabric, data, network, settings, folder, resume=resume, logger=logger)
        seconds = round(time.perf_counter() - started, 1)
        write_json(folder.info, {**info, "seconds": max(seconds, info.get("seconds", 0.0))})
        logger.stage("evaluating")
        run = load_run(folder.root)
        evaluate_run(run, data, splits=splits)
        logger.finish(run)
    return run


def _assist(folder: RunFolder, settings: RunSettings, *, resume: bool) -> NoReturn:
    """Do the part of a process that torchrun started next to the first, and end it."""
    check_processes(settings.loop)
    if settings.model.kind == "scratch" or settings.model.unfreeze:
        train_distributed(folder.root, settings, resume=resume, logger=Loggers())
    raise SystemExit(0)


def prepare(settings: RunSettings, logger: Logger, folder: RunFolder | None = None) -> tuple[Data, NetworkOfRun]:
    """Check devices and data, and build the network, before anything is trained.

    Args:
        settings: Of the run.
        logger: Gets what is to be told of the data.
        folder: The run folder, which lists unreadable images; None if nothing is written.

    Raises:
        LandmarksError: As the parts do.
    """
    check_processes(settings.loop)
    make_fabric(settings.loop, settings.model)  # refuses devices that are not there before any work
    set_threads(replace(settings.loop, devices=1))  # this process is alone as yet
    logger.stage("reading images")
    data = prepare_data(settings.data, settings.loading, cache=settings.cache, progress=logger.progress)
    for note in data.folder.notes:
        logger.remark(note)
    for line in data.folder.skipped:
        logger.detail(line)
    if data.broken:
        listed = f": {folder.info} lists them" if folder else ""
        logger.remark(f"left out {counted(len(data.broken), 'unreadable picture')}{listed}")
    for one in data.broken:
        logger.detail(f"{one.path}: left out: {one.reason}")
    if settings.loop.processes > 1 and data.train_size < settings.loading.batch_size:
        raise SettingsError(
            f"`batch_size` must be at most the {data.train_size} training images where several devices share "
            f"them, not {settings.loading.batch_size}"
        )
    if data.shards is not None and settings.model.kind == "transfer" and not settings.model.unfreeze:
        raise SettingsError(
            "`method` transfer trains a head on the decoded images of a folder, not on shards: set `unfreeze`, or "
            "give the folder"
        )
    init = settings.model.init
    if folder is None or init != folder.root:  # which was told when this run began
        _tell_seen(data, init, logger)
    torch.manual_seed(settings.loading.seed)
    network = build_network(settings.model, data.folder.classes, data.preprocessing)
    require_sizes(network, settings.augment.sizes if settings.model.unfreeze else ())
    if network.shared is not None and not network.has_head:
        logger.remark(
            f"{init} knows {network.shared} of the {len(network.classes)} classes: the others start anew"
        )
    return data, network


def _tell_seen(data: Data, init: Path | None, logger: Logger) -> None:
    """Tell of pictures to measure on that the run to start from, or one before it, was trained on."""
    for run, seen, unknown in trained_before(init, data.folder.root):
        if unknown:
            logger.remark(f"{run}: {unknown}: it may have been trained on pictures to measure on")
        for split, samples in (("validation", data.folder.valid), ("test", data.folder.test)):
            if count := sum(place in seen for place in resolved(sample.path for sample in samples)):
                logger.remark(
                    f"{run} was trained on {count} of the {len(samples)} {split} pictures, so their metrics are "
                    "too good: give both runs one seed and validation size, and a folder with train/ and test/"
                )


def _settings_of_head(settings: RunSettings) -> RunSettings:
    """Return the settings of the head before fine-tuning: it is trained as it would be alone.

    Learning rate, epochs and the like are for what follows.
    """
    usual = default_settings(settings.data, "transfer")
    loading = replace(usual.loading, seed=settings.loading.seed, sampler=settings.loading.sampler)
    loop = replace(usual.loop, precision=settings.loop.precision)
    return replace(usual, model=settings.model, loading=loading, loop=loop)


def _train_head(
    folder: RunFolder, settings: RunSettings, data: Data, network: NetworkOfRun, logger: Logger, *, resume: bool
) -> None:
    """Train the head on embeddings in the sub-folder `head/`, and save the whole network in the run."""
    model = network.model
    if not isinstance(model, TransferModel):
        raise TypeError("only a pretrained network has a head that is trained alone")
    unfreeze = settings.model.unfreeze
    own = _settings_of_head(settings) if unfreeze else settings
    # Seconds of work: not worth distributing.
    own = replace(own, loop=replace(own.loop, accelerator=settings.loop.accelerator, devices=1, nodes=1))
    loaders = head_loaders(own, data, network, logger, seed=settings.loading.seed)
    logger.stage("training the head")
    head, stage = Head(model), RunFolder(folder.root / "head")
    rows = optimize(
        replace(network, model=head),
        loaders,
        own,
        stage,
        resume=resume and stage.checkpoint.is_file(),
        logger=logger,
    )
    load_weights(stage.weights, head, network.architecture)
    head.cpu()  # back to its backbone, which took no part
    save_weights(folder.weights, model, network.architecture, data.folder.classes)
    if not unfreeze:
        write_history(folder.history, rows)
        if stage.class_history.is_file():
            write_text(folder.class_history, stage.class_history.read_text(encoding="utf-8"))


def head_loaders(
    settings: RunSettings, data: Data, network: NetworkOfRun, logger: Logger, *, seed: int
) -> dict[str, Loader]:
    """Embed the images with the frozen backbone, or read their cached embeddings, and return loaders of them.

    Args:
        settings: Those under which the head is trained.
        data: From `prepare`.
        network: A `TransferModel` with its preprocessing.
        logger: Gets the progress.
        seed: Of the augmented views.

    Returns:
        `train` and `valid`.
    """
    if not isinstance(network.model, TransferModel):
        raise TypeError("only a pretrained network has embeddings that can be cached")
    logger.stage("embedding images with the frozen backbone")
    loaders: dict[str, Loader] = {}
    for split, samples in (("train", data.folder.train), ("valid", data.folder.valid)):
        training = split == "train"
        embeddings = compute_embeddings(
            network.model,
            data.cache,
            samples,
            network.preprocessing,
            data.cache_folder,
            accelerator=settings.loop.accelerator,
            views=Views(settings.model.views, settings.augment, seed) if training else Views(),
            progress=logger.progress,
        )
        sampler = settings.loading.sampler if training else None
        loaders[split] = embedding_loader(embeddings, samples, settings.loading.batch_size, sampler=sampler)
    return loaders


def _describe(data: Data, network: NetworkOfRun) -> dict[str, Any]:
    """Return the content of `run.json`."""
    folder = data.folder
    return {
        "architecture": network.architecture,
        "classes": list(folder.classes),
        "preprocessing": network.preprocessing.to_dict(),
        "data": {
            "name": folder.root.resolve().name,
            "fingerprint": data.fingerprint,
            "train": data.train_size,
            "valid": len(folder.valid),
            "test": len(folder.test),
            "broken": [f"{folder.name_of(item.path)}: {item.reason}" for item in data.broken],
        },
        "versions": library_versions(),
        "machine": machine(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
