"""One run, from the data folder to the report."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from landmarks.errors import LandmarksError, SettingsError
from landmarks.files.atomic import write_json
from landmarks.training.config.settings import RunSettings, default_settings
from landmarks.training.data.cache import Progress
from landmarks.training.data.loaders import Data, Loader, prepare_data
from landmarks.training.engine.checkpoints import load_weights, save_weights
from landmarks.training.engine.devices import check_processes, is_first_process, make_fabric, set_threads
from landmarks.training.engine.distributed import train_together
from landmarks.training.engine.stages import Stage
from landmarks.training.engine.train import Listener
from landmarks.training.models.features import compute_embeddings, embedding_loader, view_augmentation
from landmarks.training.models.networks import NetworkOfRun, build_network
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.runs.folder import (
    RunFolder,
    create_run,
    discard_run,
    library_versions,
    machine,
    open_run,
    read_history,
    read_info,
    write_history,
)
from landmarks.training.runs.trained import SPLITS, TrainedRun, evaluate_run, load_run, require_same_data


@dataclass
class Watcher:
    """Who is told how a run goes; the default watches nothing.

    Attributes:
        stage: Called with what begins, in a few words.
        progress: Called with (done, in all) while pictures are decoded or embedded.
        listener: Told after each training step and epoch.
    """

    stage: Callable[[str], None] = lambda text: None  # noqa: ARG005
    progress: Progress = lambda done, total: None  # noqa: ARG005
    listener: Listener = field(default_factory=Listener)


def train_run(
    settings: RunSettings, out: Path, *, watcher: Watcher | None = None, splits: Sequence[str] = SPLITS
) -> TrainedRun:
    """Train, evaluate and report a new run.

    Args:
        settings: Everything the run is told.
        out: The run folder to make.
        watcher: Told how it goes.
        splits: Which of `valid` and `test` are evaluated at the end; a run that is one of many to choose from
            leaves `test` alone.

    Returns:
        The finished run, with its best weights.

    Raises:
        LandmarksError: As the parts do. A run that was stopped can be continued with `resume_run` from its last
            finished epoch.
    """
    folder = create_run(out, settings) if is_first_process() else RunFolder(out)
    return _Run(folder, settings, resume=False, watcher=watcher or Watcher(), splits=splits).go()


def resume_run(out: Path, *, watcher: Watcher | None = None) -> TrainedRun:
    """Continue a run that was stopped, to the same figures as if it had not been.

    Raises:
        RunError: The folder is not a run, or its data changed since.
        ModelError: Its checkpoint is damaged.
    """
    run, settings = open_run(out)
    return _Run(run, settings, resume=True, watcher=watcher or Watcher()).go()


@dataclass
class _Run:
    """The stages of one run; they share its folder, settings and watcher."""

    folder: RunFolder
    settings: RunSettings
    resume: bool
    watcher: Watcher
    splits: Sequence[str] = SPLITS

    def go(self) -> TrainedRun:
        if not is_first_process():
            self._help()
        unfreeze = self.settings.model.unfreeze
        started = time.perf_counter() - sum(row.seconds for row in read_history(self.folder.history))
        try:
            data, network = self._prepare()
            if data.shards is not None and self.settings.model.kind == "transfer" and not unfreeze:
                raise SettingsError(
                    "--model transfer learns a head from the decoded pictures of a folder, not from shards: add "
                    "--unfreeze, or give the folder"
                )
        except LandmarksError:
            if not self.resume:
                discard_run(self.folder)
            raise
        info = self._info(data, network)
        write_json(self.folder.info, info)
        model = network.model
        # Fine-tuning that has begun, here or in the run it starts from, has left the head of before behind.
        fine_tuning = unfreeze and (self.settings.model.init is not None or self._stage().resumes)
        if isinstance(model, TransferModel) and not fine_tuning:
            self._train_head(data, network, model)
        if not isinstance(model, TransferModel) or unfreeze:
            self._train_pictures(data, network)
        write_json(self.folder.info, {**info, "seconds": round(time.perf_counter() - started, 1)})
        self.watcher.stage("evaluating")
        trained = load_run(self.folder.root)
        evaluate_run(trained, data, splits=self.splits)
        return trained

    def _help(self) -> NoReturn:
        """Do the part of a process that torchrun started beside the first, and end it."""
        check_processes(self.settings.loop)
        if self.settings.model.kind == "scratch" or self.settings.model.unfreeze:
            train_together(self.folder.root, self.settings.loop, resume=self.resume, listener=Listener())
        raise SystemExit(0)

    def _prepare(self) -> tuple[Data, NetworkOfRun]:
        settings = self.settings
        check_processes(settings.loop)
        make_fabric(settings.loop)  # refuses devices that are not there before any work
        set_threads(replace(settings.loop, devices=1))  # this process is alone as yet
        self.watcher.stage("reading pictures")
        data = prepare_data(settings.data, settings.loading, cache=settings.cache, progress=self.watcher.progress)
        if self.resume and self.folder.info.is_file():
            require_same_data(self.folder, read_info(self.folder), data)
        if settings.loop.processes > 1 and data.train_size < settings.loading.batch_size:
            raise SettingsError(
                f"--batch-size must be at most the {data.train_size} training pictures where several devices "
                f"share them, not {settings.loading.batch_size}"
            )
        torch.manual_seed(settings.loading.seed)
        return data, build_network(settings.model, data.folder.classes, data.preprocessing)

    def _stage(self) -> Stage:
        return Stage(self.folder, self.settings, self.resume, self.watcher.listener)

    def _train_head(self, data: Data, network: NetworkOfRun, model: TransferModel) -> None:
        """Train the head on embeddings in the sub-folder `head/`, and save the whole network in the run."""
        stage = RunFolder(self.folder.root / "head")
        # Before fine-tuning, the head is trained as it would be alone; the settings are for what follows.
        settings = self.settings
        if settings.model.unfreeze:
            settings = replace(default_settings(settings.data, "transfer"), model=settings.model)
        self.watcher.stage("embedding pictures with the frozen backbone")
        loaders: dict[str, Loader] = {}
        for split, samples in (("train", data.folder.train), ("valid", data.folder.valid)):
            embeddings = compute_embeddings(
                model,
                data.cache,
                samples,
                network.preprocessing,
                data.cache_folder,
                augment=view_augmentation(settings.augment) if split == "train" else None,
                views=self.settings.model.views if split == "train" else 1,
                seed=self.settings.loading.seed if split == "train" else 0,
                progress=self.watcher.progress,
            )
            batch_size = settings.loading.batch_size
            loaders[split] = embedding_loader(embeddings, samples, batch_size, shuffle=split == "train")
        self.watcher.stage("training the head")
        head = Head(model)
        # Seconds of work: not worth sharing out.
        alone = replace(settings, loop=replace(settings.loop, devices=1, nodes=1))
        fabric = make_fabric(alone.loop)
        fabric.launch()
        rows = Stage(stage, alone, self.resume, self.watcher.listener).train_head(fabric, network, head, loaders)
        load_weights(stage.weights, head, network.architecture)
        save_weights(self.folder.weights, model, network.architecture, data.folder.classes)
        if not self.settings.model.unfreeze:
            write_history(self.folder.history, rows)

    def _train_pictures(self, data: Data, network: NetworkOfRun) -> None:
        self.watcher.stage("training")
        loop = self.settings.loop
        if loop.processes > 1:
            train_together(self.folder.root, loop, resume=self.resume, listener=self.watcher.listener)
            return
        fabric = make_fabric(loop)
        fabric.launch()
        self._stage().train_pictures(fabric, data, network)

    def _info(self, data: Data, network: NetworkOfRun) -> dict[str, Any]:
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
                "broken": [f"{item.path.name}: {item.reason}" for item in data.broken],
            },
            "versions": library_versions(),
            "machine": machine(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
