"""The run folder: its files, and how they are written and read.

```
RUN/
  settings.json        everything that defines the run
  run.json             classes, preprocessing, data summary, versions, time
  train.lock           held by the process that trains the run
  metrics.csv          one row per epoch
  classes.csv          validation accuracy of each class, one row per epoch
  weights.safetensors  the best weights by validation loss
  head/                history and checkpoint of the head's training, in transfer learning
  last.ckpt            training state after the last finished epoch, to resume from
  tensorboard/         the same curves for TensorBoard
  metrics_SPLIT.json, confusion_SPLIT.csv, confusion_SPLIT.png, per_class_SPLIT.csv, predictions_SPLIT.csv
  report.html          all of it on one page
```
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from landmarks.errors import ModelError, RunError, SettingsError
from landmarks.files.atomic import is_temporary, remove_temporaries, storage_errors, write_json
from landmarks.files.csv_lines import write_csv
from landmarks.files.locks import locked
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.tagging.workers import cores
from landmarks.training.config.settings import RunSettings

_RENAMED = {"pictures_per_second": "images_per_second"}
"""Columns of older versions by their current name."""


@dataclass(frozen=True)
class EpochRow:
    """The metrics of one epoch; a row of `metrics.csv`.

    Attributes:
        epoch: Number of the epoch, from 0.
        size: Side of the training crops in pixels, 0 if trained on embeddings.
        learning_rate: Highest learning rate at the start of the epoch: a backbone may have a lower one.
        train_loss: Mean training loss, with augmentation, smoothing and dropout.
        train_accuracy: Training accuracy, likewise.
        valid_loss: Mean cross entropy on the validation images.
        valid_accuracy: Accuracy on the validation images.
        seconds: Wall time of both passes.
        images_per_second: Training speed.
        saved: Whether the weights were saved.
    """

    epoch: int
    size: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    seconds: float
    images_per_second: float
    saved: bool


_KINDS_OF_INFO = {
    "architecture": str,
    "classes": list,
    "preprocessing": dict,
    "data": dict,
    "versions": dict,
    "machine": str,
}


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    root: Path

    @property
    def settings(self) -> Path:
        """The settings of the run."""
        return self.root / "settings.json"

    @property
    def info(self) -> Path:
        """Classes, preprocessing, data and versions."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """Lock of the process that trains the run."""
        return self.root / "train.lock"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.root / "metrics.csv"

    @property
    def class_history(self) -> Path:
        """Validation accuracy of each class, one row per epoch."""
        return self.root / "classes.csv"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.root / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Training state after the last finished epoch."""
        return self.root / "last.ckpt"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"


def require_own_report(folder: Path, own: str) -> None:
    """Refuse a file, and a folder with the report of another command, such as a run, which would be overwritten.

    Args:
        folder: Where a report is to be written.
        own: Name of a file that the same command writes beside its report.

    Raises:
        SettingsError: It is a file, or there is a report, or a run that will write one, without that file.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"`out` {folder} is a file: give a folder")
    run = RunFolder(folder)
    for there in (run.report, run.info):
        if there.exists() and not (folder / own).exists():
            raise SettingsError(f"`out` {folder}: {there.name} in it is of another command: choose another folder")


def create_run(root: Path, settings: RunSettings) -> RunFolder:
    """Make a new run folder with its settings.

    Raises:
        RunError: The folder is taken.
        StorageError: It cannot be written.
    """
    run = RunFolder(root)
    # A process that was killed at once leaves a temporary file at most.
    if root.exists() and (not root.is_dir() or not all(is_temporary(path) for path in root.iterdir())):
        raise RunError(f"{root}: this run folder exists: choose another `out`, or continue it with `resume`")
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    write_json(run.settings, settings.to_dict())
    return run


@contextmanager
def locked_run(run: RunFolder) -> Iterator[None]:
    """Keep other processes from this run while the block runs, and remove what killed ones left half-written.

    Raises:
        RunError: Another process is training it.
        StorageError: The folder cannot be written.
    """
    with storage_errors(run.lock):
        run.lock.touch()  # with the permissions of the other files
    busy = RunError(f"{run.root}: another process is training this run: wait until it ends, or stop it first")
    with locked(run.lock, busy=busy):
        remove_temporaries(run.root)
        yield


def has_weights(run: RunFolder) -> bool:
    """Return whether there is anything to keep or continue."""
    return any(run.root.rglob(run.weights.name))


def discard_without_weights(run: RunFolder) -> None:
    """Remove a run that ended before there was anything to keep or continue, so that its path is free again."""
    if not has_weights(run):
        shutil.rmtree(run.root, ignore_errors=True)


def remove_weights(run: RunFolder) -> None:
    """Remove the weights and checkpoints of a run and keep only its metrics."""
    with suppress(OSError):
        for path in (*run.root.rglob(run.weights.name), *run.root.rglob(run.checkpoint.name)):
            path.unlink(missing_ok=True)


def open_run(root: Path) -> tuple[RunFolder, RunSettings]:
    """Open an existing run folder.

    Raises:
        RunError: It is not a run folder.
        SettingsError: Its settings do not fit this version.
    """
    run = RunFolder(root)
    try:
        return run, RunSettings.from_dict(read_json(run.settings))
    except SettingsError as error:
        raise SettingsError(f"{run.settings}: {error}") from error


def read_info(run: RunFolder) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        RunError: It is missing or damaged.
    """
    info = read_json(run.info)
    for key, kind in _KINDS_OF_INFO.items():
        if not isinstance(info.get(key), kind):
            raise RunError(f"{run.info}: damaged ({key} is missing or of another type): train again")
    missing = sorted({"name", "fingerprint"} - set(info["data"]))
    if missing:
        raise RunError(f"{run.info}: damaged (data has no {missing[0]}): train again")
    try:
        Preprocessing.from_dict(info["preprocessing"])
    except ModelError as error:
        raise RunError(f"{run.info}: damaged ({error.args[0].partition(':')[0]}): train again") from error
    return info


def write_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write `metrics.csv`; raises `StorageError` when it cannot be written."""
    lines = [[f"{v:.6g}" if isinstance(v, float) else v for v in asdict(row).values()] for row in rows]
    write_csv(path, [item.name for item in fields(EpochRow)], lines)


def read_history(path: Path) -> list[EpochRow]:
    """Read `metrics.csv`; an empty list if there is none.

    Raises:
        RunError: It is damaged.
    """
    if not path.is_file():
        return []
    kinds: dict[str, Callable[[str], Any]] = {"epoch": int, "size": int, "saved": lambda text: text == "True"}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                EpochRow(**{_RENAMED.get(k, k): kinds.get(k, float)(v) for k, v in row.items()})
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: unreadable ({error}): train again") from error


def library_versions() -> dict[str, str]:
    """Return the versions of the packages that a run or an export depends on."""
    names = ("landmarks", "torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def machine() -> str:
    """Return the processor and the number of cores, for reports."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {cores()} cores"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        RunError: It is missing, damaged or not a mapping.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - False if forbidden
        raise RunError(
            f"{path.parent}: not a run folder ({path.name} is missing): give the folder of a training run"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: unreadable ({error}): train again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: not what landmarks wrote: train again")
    return value
