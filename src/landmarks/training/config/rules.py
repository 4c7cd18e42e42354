"""Rules of settings: the ranges of values, and which play no part in a way of training.

Where someone gives one that plays no part it is refused, as it would be ignored without a word. Where a stored run
has one it is left out: the run was made by a version with other defaults or other rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from landmarks.errors import SettingsError

MIXES = ("mixup", "cutmix")
"""Augmentations that blend the images of a batch."""

FROZEN_SIZES = (224,)
"""The only size at which a frozen backbone embeds."""

_ARGUMENTS = {"kind": "method", "names": "augment", "mix_probability": "mix"}


def argument_of(key: str) -> str:
    """Return the argument of `landmarks train` that sets a key of the settings: `method` for `kind`."""
    return _ARGUMENTS.get(key, key)


def refuse_unused(settings: Any, found: Iterable[tuple[str, str]]) -> None:
    """Refuse settings that play no part and are not the default; raises `SettingsError`.

    Args:
        settings: A group of settings.
        found: Fields, and with what each would be used.
    """
    for key, use in found:
        value = getattr(settings, key)
        require(value == getattr(type(settings), key), argument_of(key), f"used with {use}", value)


def require(condition: bool, argument: str, rule: str, value: object) -> None:
    """Refuse a value of an argument that breaks a rule; raises `SettingsError`."""
    if not condition:
        raise SettingsError(f"`{argument}` must be {rule}, not {value!r}")


def unused_in_model(model: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of `ModelSettings` that play no part, each with what would use it."""
    if model.head != "cosine":
        yield from ((key, "`head` cosine") for key in ("sub_centers", "scale", "margin", "rare_margin"))
    if model.kind == "transfer":
        yield from ((key, "`method` scratch") for key in ("widths", "depths"))
    else:
        yield from ((key, "`method` transfer") for key in ("backbone", "weights", "views"))
    if not model.unfreeze:
        yield "frozen", "`unfreeze`"


def unused_in_augmentation(augment: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of `AugmentSettings` that play no part; a probability of 0 asks for nothing."""
    if augment.mix_probability != 0 and not set(MIXES) & set(augment.names):
        yield "mix_probability", "mixup or cutmix in `augment`"


def unused_in_optimization(optimization: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of `OptimizationSettings` that play no part."""
    if optimization.optimizer != "sgd":
        yield "momentum", "`optimizer` sgd"


def unused_in_run(run: Any) -> Iterator[tuple[str, str, str]]:
    """Yield group and field of the settings that play no part beside those of the other groups."""
    if not run.model.unfreeze:
        yield "optimization", "backbone_rate", "`unfreeze`"
        if run.model.kind == "transfer" and run.augment.sizes != FROZEN_SIZES:
            yield "augment", "sizes", "`method` scratch or with `unfreeze`"
