"""The search spaces of tuning, one per way of training: the only place to add a setting.

A trial is a point of the space, converted to changes of `RunSettings`. Augmented views for a frozen backbone are
embedded once and cached, so settings that change them (backbone, crop, augmentation) have few choices: every trial
after the first few takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landmarks.training.config.rules import argument_of
from landmarks.training.config.settings import AugmentSettings, ModelKind, RunSettings

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = float | int | str | bool
"""A value of one setting as a study stores it; a list of sizes is text, `96,128`."""


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, on a logarithmic scale if `log`."""

    section: str
    key: str
    low: float
    high: float
    log: bool = False

    def suggest(self, trial: BaseTrial) -> float:
        """Let a trial choose."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def at(self, share: float) -> Value:
        """Return the value at a fraction of the way from the lowest to the highest, in [0, 1)."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    @property
    def name(self) -> str:
        """The argument of `landmarks train`."""
        return argument_of(self.key)


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    section: str
    key: str
    values: tuple[Any, ...]

    def suggest(self, trial: BaseTrial) -> Any:
        """Let a trial choose."""
        stored: dict[Any, Any] = {_stored(value): value for value in self.values}
        return stored[trial.suggest_categorical(self.name, list(stored))]

    def at(self, share: float) -> Value:
        """Return the value at a fraction of the way through the list, in [0, 1)."""
        return _stored(self.values[int(share * len(self.values))])

    @property
    def name(self) -> str:
        """The argument of `landmarks train`."""
        return argument_of(self.key)


Space = tuple[Range | Choice, ...]

SPACES: Mapping[ModelKind, Space] = {
    "transfer": (
        Choice("model", "backbone", ("efficientnet_lite0", "efficientnet_lite2")),
        Choice("model", "crop", (224, 256)),
        Choice("augment", "crop_scale", (0.3, 0.6)),
        Choice("augment", "names", (("resized-crop", "flip", "jitter"), ("resized-crop", "flip", "trivial"))),
        Range("model", "dropout", 0.0, 0.5),
        Range("optimization", "learning_rate", 3e-3, 0.3, log=True),
        Range("optimization", "weight_decay", 1e-6, 0.1, log=True),
        Range("optimization", "label_smoothing", 0.0, 0.2),
        Choice("optimization", "ema", (0.0, 0.99)),
        Choice("loop", "epochs", (20, 40, 80)),
    ),
    "scratch": (
        Range("optimization", "learning_rate", 5e-4, 1e-2, log=True),
        Range("optimization", "weight_decay", 1e-3, 0.3, log=True),
        Range("optimization", "label_smoothing", 0.0, 0.2),
        Range("model", "dropout", 0.0, 0.4),
        Range("augment", "crop_scale", 0.1, 0.6),
        Choice(
            "augment",
            "names",
            (("resized-crop", "flip"), AugmentSettings.names, (*AugmentSettings.names, "mixup", "cutmix")),
        ),
        Choice("augment", "sizes", ((64, 96, 128), (96, 128, 160), (128, 160, 192))),
        Choice("loading", "batch_size", (32, 64, 128)),
    ),
}
"""The settings that tuning changes. The space contains the default settings, which are the first trial."""


def space_of(kind: ModelKind, fixed: Sequence[str] = ()) -> Space:
    """Return the space of a way of training, without the keys in `fixed`."""
    return tuple(dimension for dimension in SPACES[kind] if dimension.key not in fixed)


def suggest(trial: BaseTrial, space: Space) -> dict[str, dict[str, Any]]:
    """Let a trial choose a point; return values by section and key, for `presets.changed`."""
    changes: dict[str, dict[str, Any]] = {}
    for dimension in space:
        changes.setdefault(dimension.section, {})[dimension.key] = dimension.suggest(trial)
    return changes


def point_of(settings: RunSettings, space: Space) -> dict[str, Value]:
    """Return the point of a space that has these settings, by the names of its dimensions."""
    return {
        dimension.name: _stored(getattr(getattr(settings, dimension.section), dimension.key))
        for dimension in space
    }


def spread_points(space: Space, count: int, seed: int) -> list[dict[str, Value]]:
    """Return points that cover each dimension evenly: a Latin hypercube.

    With `count` independent points, one in three choices may be missing altogether, and a study would never try
    it.
    Source: McKay, Beckman and Conover, "A comparison of three methods for selecting values of input
    variables", Technometrics 21 (1979).
    """
    from scipy.stats.qmc import LatinHypercube  # noqa: PLC0415 - takes seconds to import, for a study alone

    rows = LatinHypercube(len(space), rng=seed).random(count)
    return [
        {dimension.name: dimension.at(float(share)) for dimension, share in zip(space, row, strict=True)}
        for row in rows
    ]


def _stored(value: Any) -> Value:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
