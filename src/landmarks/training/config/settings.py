"""The settings of a training run, as frozen dataclasses that check themselves.

A bad value raises `SettingsError`, whose sentence names the argument. `RunSettings` is written to the run folder
as `settings.json`, and read back when a run is resumed, evaluated or exported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Self, get_args

from landmarks.errors import SettingsError, require_at_least, require_choice
from landmarks.files.paths import take_paths, to_path
from landmarks.training.config import rules
from landmarks.training.config.rules import MIXES, refuse_unused, require

ModelKind = Literal["scratch", "transfer"]
HeadKind = Literal["linear", "cosine"]
Sampler = Literal["plain", "sqrt", "balanced"]
OptimizerName = Literal["sgd", "adam", "adamw", "muon"]
ScheduleName = Literal["plateau", "cosine", "onecycle"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
AugmentationName = Literal[
    "resized-crop",
    "crop",
    "flip",
    "quality",
    "jitter",
    "rotation",
    "trivial",
    "rand",
    "erasing",
    "mixup",
    "cutmix",
]


DEFAULT_METHOD: ModelKind = "transfer"
"""The way of training where none is asked for."""


@dataclass(frozen=True)
class DataSettings:
    """Images and batches.

    Attributes:
        batch_size: Images per step over all devices together, at least 1.
        valid_size: Fraction of the training images used for validation, in (0, 1).
        workers: Loader processes; 0 loads in the training process, which is fastest with few cores.
        limit: Maximum number of training images, drawn evenly over the classes; by default all.
        sampler: `plain` shuffles; `balanced` draws every class equally often, `sqrt` in proportion to the square
            root of its images, which lies between the two.
        seed: Seed of the split, the shuffle, the augmentation and the weights, from 0 to 2147483647.
    """

    batch_size: int = 64
    valid_size: float = 0.15
    workers: int = 0
    limit: int | None = None
    sampler: Sampler = "plain"
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least("batch_size", self.batch_size)
        require(0 < self.valid_size < 1, "valid_size", "between 0 and 1", self.valid_size)
        require_at_least("workers", self.workers, 0)
        require(self.limit is None or self.limit >= 1, "limit", "at least 1", self.limit)
        require_choice("sampler", self.sampler, get_args(Sampler))
        require(0 <= self.seed < 2**31, "seed", "from 0 to 2147483647", self.seed)


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images; validation and test images are never augmented.

    Attributes:
        names: Augmentations in the order they are applied.
        crop_scale: Smallest fraction of an image's area that `resized-crop` keeps, in (0, 1].
        mix_probability: Probability per batch of `mixup` or `cutmix`, in [0, 1].
        sizes: Sides of the training crop in pixels; the epochs are divided evenly among them, in order
            (progressive resizing: small and fast first, large at the end).
    """

    names: tuple[AugmentationName, ...] = ("resized-crop", "flip", "trivial")
    crop_scale: float = 0.25
    mix_probability: float = 0.5
    sizes: tuple[int, ...] = (96, 128, 160)

    def __post_init__(self) -> None:
        for name in self.names:
            require_choice("augment", name, get_args(AugmentationName))
        require(
            not {"crop", "resized-crop"} <= set(self.names),
            "augment",
            "one of crop and resized-crop",
            self.names,
        )
        require(0 < self.crop_scale <= 1, "crop_scale", "above 0 and at most 1", self.crop_scale)
        require(0 <= self.mix_probability <= 1, "mix", "from 0 to 1", self.mix_probability)
        refuse_unused(self, rules.unused_in_augmentation(self))
        require(len(self.sizes) > 0, "sizes", "at least one size", self.sizes)
        for size in self.sizes:
            require(32 <= size <= 256, "sizes", "from 32 to 256 pixels", size)

    @property
    def mixes(self) -> tuple[AugmentationName, ...]:
        """The augmentations that blend whole batches."""
        return tuple(name for name in self.names if name in MIXES)

    def size_of_epoch(self, epoch: int, epochs: int) -> int:
        """Return the training crop in pixels of epoch `epoch` (from 0) of `epochs`."""
        return self.sizes[min(len(self.sizes) - 1, epoch * len(self.sizes) // max(1, epochs))]


@dataclass(frozen=True)
class ModelSettings:
    """The network.

    Attributes:
        kind: `scratch` for `MyModel`, `transfer` for a pretrained backbone with a new head.
        widths: Channels of the stages of `MyModel`; fewer make it quicker, and less accurate.
        depths: Residual blocks of the stages of `MyModel`, one number per stage.
        backbone: Name of the backbone of `transfer` (see `landmarks.training.models.backbones`).
        weights: Local weights file for the backbone; by default that of the installed package.
        unfreeze: Fine-tune the backbone too, starting from the trained head.
        frozen: Stages of an unfrozen backbone that keep their weights, from the stem on: the first see the largest
            images, so they cost most, and what they see changes least from task to task. By default 3 of at
            least 6, else none.
        views: Views of each training image that a frozen backbone embeds (the centre crop and augmented
            ones), at least 1.
        dropout: Fraction of the embedding dropped before the head in training, in [0, 1).
        resize: Short side in pixels of images that are not trained on, before the centre crop; from `crop` to 256.
        crop: Side of that crop in pixels, at least 32. 256 shows the network the whole square, at 1.3 times the
            work.
        head: `linear`, or `cosine` for very many classes (see `landmarks.training.models.heads`).
        sub_centers: Centres per class of a cosine head, at least 1.
        scale: Factor on the cosines of a cosine head, above 0.
        margin: Radians added to the angle of the correct class of a cosine head in training (ArcFace), in
            [0, 1.5]. Scale 64 and margin 0.5, usual for faces, are too much for a few thousand photos: see
            `benchmarks/results/heads.md`.
        rare_margin: Margin of the class with the fewest training images, from `margin` to 1.5; `margin` is then
            that of the largest class, and the others lie between them by n**-0.25. By default all have `margin`.
            With classes of very different size 0.05 and 0.5 gained 9 points over a linear head: see
            `benchmarks/results/rare_classes.md`.
        init: Run folder to take initial weights from; rows of its head are used where class names match.
    """

    kind: ModelKind = "scratch"
    widths: tuple[int, ...] = (48, 96, 192, 384)
    depths: tuple[int, ...] = (1, 1, 2, 1)
    backbone: str = "efficientnet_lite0"
    weights: Path | None = None
    unfreeze: bool = False
    frozen: int | None = None
    views: int = 4
    dropout: float = 0.0
    resize: int = 256
    crop: int = 224
    head: HeadKind = "linear"
    sub_centers: int = 1
    scale: float = 30.0
    margin: float = 0.1
    rare_margin: float | None = None
    init: Path | None = None

    def __post_init__(self) -> None:
        take_paths(self, "weights", "init")
        require_choice("method", self.kind, get_args(ModelKind))
        for key, least in (("widths", 2), ("depths", 1)):
            stages = getattr(self, key)
            require(min(stages, default=0) >= least, key, f"at least {least} in each stage", stages)
        require(len(self.widths) == len(self.depths), "depths", "as many numbers as `widths`", self.depths)
        require_at_least("views", self.views)
        require(0 <= self.dropout < 1, "dropout", "from 0 to below 1", self.dropout)
        require(32 <= self.crop <= 256, "crop", "from 32 to 256 pixels", self.crop)
        require(self.crop <= self.resize <= 256, "resize", "from `crop` to 256 pixels", self.resize)
        require_choice("head", self.head, get_args(HeadKind))
        require_at_least("sub_centers", self.sub_centers)
        require(0 < self.scale < math.inf, "scale", "above 0", self.scale)
        require(0 <= self.margin <= 1.5, "margin", "from 0 to 1.5 radians", self.margin)
        rare = self.rare_margin
        require(rare is None or self.margin <= rare <= 1.5, "rare_margin", "from `margin` to 1.5 radians", rare)
        refuse_unused(self, rules.unused_in_model(self))
        require(not (self.unfreeze and self.kind == "scratch"), "unfreeze", "used with `method` transfer", True)
        require(self.frozen is None or self.frozen >= 0, "frozen", "at least 0", self.frozen)


@dataclass(frozen=True)
class OptimizationSettings:
    """Optimizer and learning-rate schedule.

    Attributes:
        optimizer: `sgd` (momentum, Nesterov), `adam`, `adamw`, or `muon`, with which a network from scratch learns
            more in each epoch (see `landmarks.training.engine.muon`).
        learning_rate: Peak learning rate, above 0.
        backbone_rate: Learning rate of an unfrozen backbone as a fraction of `learning_rate`, in (0, 1].
        momentum: Momentum of `sgd`, in [0, 1).
        weight_decay: Weight decay, at least 0; not applied to norms and biases.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
        schedule: `plateau` (reduce on plateau), `cosine` (warm-up, then cosine) or `onecycle`.
        clip: Maximum norm of the gradient, or 0 for no clipping.
        ema: Decay per step of the exponential moving average of the weights, in [0, 1); 0 for none.
    """

    optimizer: OptimizerName = "muon"
    learning_rate: float = 2e-3
    backbone_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    schedule: ScheduleName = "onecycle"
    clip: float = 2.0
    ema: float = 0.998

    def __post_init__(self) -> None:
        require_choice("optimizer", self.optimizer, get_args(OptimizerName))
        require_choice("schedule", self.schedule, get_args(ScheduleName))
        positive = math.isfinite(self.learning_rate) and self.learning_rate > 0
        require(positive, "learning_rate", "above 0", self.learning_rate)
        require(0 < self.backbone_rate <= 1, "backbone_rate", "above 0 and at most 1", self.backbone_rate)
        require(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
        refuse_unused(self, rules.unused_in_optimization(self))
        require(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0", self.weight_decay)
        require(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1", self.label_smoothing)
        require(0 <= self.clip < math.inf, "clip", "at least 0 (0 for no clipping)", self.clip)
        require(0 <= self.ema < 1, "ema", "from 0 to below 1", self.ema)


@dataclass(frozen=True)
class LoopSettings:
    """Duration and hardware.

    Attributes:
        epochs: Passes over the training images, at least 1.
        patience: Stop after this many epochs in which the validation loss did not fall by more than 1 %, or 0 to
            never stop early.
        max_minutes: Stop after the epoch in which this time is used up; by default no limit.
        precision: `auto` uses bf16 where the processor is faster in it, else 32 bits.
        accelerator: Accelerator of Fabric: `auto`, `cpu`, `gpu`, ...
        devices: Number of devices per machine.
        threads: Threads of PyTorch on a CPU, or 0 for all cores, divided evenly among the devices.
        nodes: Number of machines.
    """

    epochs: int = 30
    patience: int = 0
    max_minutes: float | None = None
    precision: Precision = "auto"
    accelerator: str = "auto"
    devices: int = 1
    threads: int = 0
    nodes: int = 1

    @property
    def processes(self) -> int:
        """Number of processes that train together, one per device."""
        return self.devices * self.nodes

    def __post_init__(self) -> None:
        require_at_least("epochs", self.epochs)
        require_at_least("patience", self.patience, 0)
        limited = self.max_minutes is None or 0 < self.max_minutes < math.inf
        require(limited, "max_minutes", "above 0 (left out for no limit)", self.max_minutes)
        require_choice("precision", self.precision, get_args(Precision))
        require_at_least("devices", self.devices)
        require_at_least("threads", self.threads, 0)
        require_at_least("nodes", self.nodes)


@dataclass(frozen=True)
class RunSettings:
    """Everything that defines a run.

    Attributes:
        data: The image folder.
        cache: Folder of decoded images and features, or None for the user's cache folder.
    """

    data: Path
    cache: Path | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    loading: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        take_paths(self, "data", "cache")
        # Batch normalisation, which only the network from scratch trains, needs more than one image per device.
        batch_size, processes = self.loading.batch_size, self.loop.processes
        least = 2 * processes if self.model.kind == "scratch" else processes
        on = f" on {processes} devices" if processes > 1 else ""
        require(batch_size >= least, "batch_size", f"at least {least} from scratch{on}", batch_size)
        require(batch_size % processes == 0, "batch_size", f"a multiple of the {processes} devices", batch_size)
        if self.model.kind == "transfer" and not self.model.unfreeze:
            # A frozen backbone embeds one image at a time, at one size.
            rule = "without mixup and cutmix for a frozen backbone"
            require(not self.augment.mixes, "augment", rule, self.augment.names)
        for group, key, use in rules.unused_in_run(self):
            refuse_unused(getattr(self, group), [(key, use)])

    @classmethod
    def for_method(
        cls, data: str | Path, method: ModelKind = DEFAULT_METHOD, *, unfreeze: bool = False
    ) -> RunSettings:
        """Return the settings of a method, to change with `dataclasses.replace`; `unfreeze` fine-tunes."""
        return default_settings(to_path("data", data), method, unfreeze=unfreeze)

    @property
    def default_out(self) -> Path:
        """Folder of the run, where no other is given."""
        return Path("runs") / f"{self.model.kind}-{self.data.resolve().name}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, one mapping per group."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create settings from the values of `to_dict`.

        Raises:
            SettingsError: A setting is unknown, missing or out of range.
        """
        groups = {"model": ModelSettings, "loading": DataSettings, "augment": AugmentSettings}
        groups |= {"optimization": OptimizationSettings, "loop": LoopSettings}
        try:
            built = {name: _build(group, values[name]) for name, group in groups.items()}
            for name, key, _ in list(rules.unused_in_run(SimpleNamespace(**built))):
                built[name] = replace(built[name], **{key: getattr(groups[name], key)})
            return cls(data=Path(values["data"]), cache=values.get("cache"), **built)
        except (KeyError, TypeError, AttributeError) as error:
            raise SettingsError(
                f"the settings do not fit this version of landmarks ({error}): train again"
            ) from error


def default_settings(data: Path, kind: ModelKind = DEFAULT_METHOD, *, unfreeze: bool = False) -> RunSettings:
    """Return the default settings of each way of training, suited to a few thousand images.

    The crops of fine-tuning are smaller than those of the preprocessing on purpose: objects appear larger in a
    random crop than in the centre crop, and 192 pixels compensate for that (Touvron et al. 2019,
    https://arxiv.org/abs/1906.06423).
    """
    model = ModelSettings(kind=kind, unfreeze=unfreeze)
    if kind == "scratch":
        return RunSettings(data, model=model)
    if not unfreeze:
        return RunSettings(
            data,
            model=model,
            augment=AugmentSettings(("resized-crop", "flip", "jitter"), crop_scale=0.6, sizes=rules.FROZEN_SIZES),
            optimization=OptimizationSettings("adamw", 0.05, weight_decay=1e-4, label_smoothing=0.0, ema=0.0),
            loop=LoopSettings(epochs=40),
        )
    return RunSettings(
        data,
        model=model,
        loading=DataSettings(batch_size=32),
        augment=AugmentSettings(sizes=(160, 192)),
        optimization=OptimizationSettings("adamw", 2e-3, label_smoothing=0.0, ema=0.99),
        loop=LoopSettings(epochs=10),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value  # a number of numpy


_UNUSED: Mapping[type[Any], Callable[[Any], Iterable[tuple[str, str]]]] = {
    ModelSettings: rules.unused_in_model,
    AugmentSettings: rules.unused_in_augmentation,
    OptimizationSettings: rules.unused_in_optimization,
}


def _build(group: type[Any], values: Mapping[str, Any]) -> Any:
    given = {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
    usual = {item.name: item.default for item in dataclasses.fields(group)}
    if group in _UNUSED:
        for key, _ in _UNUSED[group](SimpleNamespace(**{**usual, **given})):
            given.pop(key, None)
    return group(**given)
