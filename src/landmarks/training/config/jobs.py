"""Settings of the jobs around training: checking a data set, packing it, tuning, exporting."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from landmarks.errors import SettingsError, require_at_least, require_choice
from landmarks.files.paths import take_paths
from landmarks.model.folder import parse_licences
from landmarks.model.ood import ScoreKind
from landmarks.training.config.presets import Changes, changed
from landmarks.training.config.settings import (
    DEFAULT_METHOD,
    DataSettings,
    LoopSettings,
    ModelKind,
    RunSettings,
    default_settings,
)

OnnxPrecision = Literal["fp32", "int8"]
ExportTarget = Literal["landmarks", "onnx", "torchscript", "timm", "hub", "photoprism"]
Metric = Literal["loss", "accuracy"]

CALIBRATED = ("landmarks", "hub")
"""Targets of an export that have thresholds for unknown photos, and a model card."""

_OF_THRESHOLDS = ("negatives", "score", "target_fpr", "unknown_tags")
_OF_CARD = ("licence", "origin", "notes")


@dataclass(frozen=True)
class DoctorSettings:
    """Settings of one examination.

    Attributes:
        data: Folder with train/ and test/, or with one folder per class.
        min_side: Report images whose short side has fewer pixels as small.
        seed: Seed of the cross-validation.
        cache: Folder for decoded images and embeddings; by default the user's cache folder.

    Raises:
        SettingsError: A value is out of range.
    """

    data: Path
    min_side: int = 64
    seed: int = 0
    cache: Path | None = None

    def __post_init__(self) -> None:
        require_at_least("min_side", self.min_side)
        DataSettings(seed=self.seed)  # checks it, as for a run


@dataclass(frozen=True)
class PackSettings:
    """How an image folder is packed.

    Attributes:
        valid_size: Fraction of the training images used for validation.
        shard_size: Images per shard, at least 1.
        sample: Training images also kept as files, for export, at least 1.
        seed: Seed of the split and of the order.

    Raises:
        SettingsError: A value is out of range.
    """

    valid_size: float = 0.15
    shard_size: int = 5000
    sample: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        DataSettings(valid_size=self.valid_size, seed=self.seed)  # checks them, as for a run
        for name in ("shard_size", "sample"):
            require_at_least(name, getattr(self, name))


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        target: Program or format that the export is for.
        precision: int8 is small and fast, fp32 exact.
        name: Name of the model; by default that of its folder.
        torchscript: Also write model.pt (TorchScript).
        notes: Markdown about data and purpose, for the model card.
        negatives: Folder of at least 99 photos without a landmark, ideally with a subfolder per kind, to choose
            the threshold for unknown photos; without it, a frozen efficientnet_lite0 uses a bundled table, and any
            other model always answers.
        unknown_landmarks: Folder of photos of landmarks that the model does not know, with a subfolder for each;
            used with negatives.
        target_fpr: Fraction of photos without a landmark that may get a tag.
        unknown_tags: Fraction of photos of unknown landmarks that may get a tag.
        score: Out-of-distribution score (see landmarks.model.ood); used with negatives.
        licence: Permitted use of the weights; by default what the licences of the training images allow.
        origin: Collections of the training images, as COLLECTION=LICENCE; the licence `none` means that they have
            none.

    Raises:
        SettingsError: A value is out of range, or an option does not suit the target.
    """

    target: ExportTarget = "landmarks"
    precision: OnnxPrecision = "int8"
    name: str | None = None
    torchscript: bool = True
    notes: str = ""
    negatives: Path | None = None
    unknown_landmarks: Path | None = None
    target_fpr: float = 0.01
    unknown_tags: float = 0.05
    score: ScoreKind = "combined"
    licence: str | None = None
    origin: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        take_paths(self, "negatives", "unknown_landmarks")
        require_choice("target", self.target, get_args(ExportTarget))
        require_choice("precision", self.precision, get_args(OnnxPrecision))
        require_choice("score", self.score, get_args(ScoreKind))
        for name in ("target_fpr", "unknown_tags"):
            if not 0 < getattr(self, name) < 1:
                raise SettingsError(f"`{name}` must be between 0 and 1, not {getattr(self, name)}")
        for name in ("negatives", "unknown_landmarks"):
            folder = getattr(self, name)
            if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - False if forbidden
                raise SettingsError(f"`{name}` must be a folder of photos, not {str(folder)!r}")
        for name in (*_OF_THRESHOLDS, *_OF_CARD) if self.target not in CALIBRATED else ():
            if self.differs(name):
                what = "a threshold" if name in _OF_THRESHOLDS else "a model card"
                raise SettingsError(
                    f"`{name}` is for {what}, which `target` {self.target} does not have: leave it out, or export "
                    f"for {' or '.join(CALIBRATED)}"
                )
        if not self.torchscript and self.target == "torchscript":
            raise SettingsError("`torchscript` must be true with `target` torchscript, which is nothing else")
        if self.differs("score") and self.negatives is None:
            raise SettingsError("`score` needs `negatives`: give a folder of photos without a landmark too")
        if self.unknown_landmarks is not None:
            if self.negatives is None:
                raise SettingsError(
                    "`unknown_landmarks` needs `negatives`: give a folder of photos without a landmark too"
                )
            ordinary, unknown = self.negatives.resolve(), self.unknown_landmarks.resolve()
            if ordinary in (unknown, *unknown.parents) or unknown in ordinary.parents:
                raise SettingsError(
                    f"{self.unknown_landmarks}: one of `negatives` and `unknown_landmarks` lies in the other, so "
                    "photos would count as both: give folders apart"
                )
        if self.unknown_landmarks is not None and self.score != "combined":
            raise SettingsError(f"`unknown_landmarks` serves the score combined, not {self.score}: leave one out")
        parse_licences(self.origin)

    def differs(self, name: str) -> bool:
        """Return whether a setting is not the default."""
        return bool(getattr(self, name) != getattr(ExportSettings, name))

    @property
    def folder_name(self) -> str:
        """Name of the folder in the run, where no other is given."""
        return "model" if self.target == "landmarks" else self.target


@dataclass(frozen=True)
class TuneSettings:
    """Settings of a study.

    Attributes:
        data: Folder with train/ and test/, or with one folder per class.
        method: The way of training to tune.
        metric: Metric on the validation split: the lowest loss or the highest accuracy.
        trials: Finished trials of the whole study, including those of earlier calls and other processes.
        minutes: Start no trial after this time, in minutes.
        epochs: Epochs per trial; by default tuned, or that of the method.
        limit: Training images per trial; by default all.
        seed: Seed of the split, of every training and of the search.
        threads: CPU threads of PyTorch; 0 for one per core.
        cache: Folder for decoded images and embeddings; by default the user's cache folder.

    Raises:
        SettingsError: A value is out of range.
    """

    data: Path
    method: ModelKind = DEFAULT_METHOD
    metric: Metric = "loss"
    trials: int = 30
    minutes: float | None = None
    epochs: int | None = None
    limit: int | None = None
    seed: int = 0
    threads: int = 0
    cache: Path | None = None

    def __post_init__(self) -> None:
        require_choice("method", self.method, get_args(ModelKind))
        require_choice("metric", self.metric, get_args(Metric))
        require_at_least("trials", self.trials)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise SettingsError(f"`minutes` must be above 0, not {self.minutes}")
        # The others are settings of a run, which checks them before any work.
        DataSettings(limit=self.limit, seed=self.seed)
        LoopSettings(epochs=1 if self.epochs is None else self.epochs, threads=self.threads)

    def start(self) -> RunSettings:
        """Return the settings that a trial changes."""
        loop: dict[str, Any] = {} if self.epochs is None else {"epochs": self.epochs}
        return changed(default_settings(self.data, self.method), {"loop": loop})

    def of_trial(self, changes: Changes) -> RunSettings:
        """Return the settings of a trial's run."""
        own: Changes = {"loading": {"limit": self.limit, "seed": self.seed}, "loop": {"threads": self.threads}}
        return replace(changed(changed(self.start(), changes), own), cache=self.cache)
