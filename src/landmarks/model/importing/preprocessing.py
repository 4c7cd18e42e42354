"""Preprocessing of a foreign recogniser, described in one short text.

`squash:321,range:0..1` or `short:256,crop:224,mean:0.485/0.456/0.406,std:0.229/0.224/0.225`: parts may be in any
order; the defaults are `range:0..1` and no further scaling.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landmarks.errors import SettingsError
from landmarks.imaging.preprocessing import IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, Preprocessing

Layout = Literal["NHWC", "NCHW"]

_MEAN, _STD = ("/".join(map(str, values)) for values in (IMAGENET_MEAN, IMAGENET_STD))
PRESETS = {
    "imagenet": f"short:256,crop:224,mean:{_MEAN},std:{_STD}",
    "inception": "short:256,crop:224,range:-1..1",
}

PREPROCESSING_FILE = "preprocessing.json"
"""The file beside the `model.onnx` of `landmarks export --for onnx` that says how to prepare a photo."""


@dataclass(frozen=True)
class Wanted:
    """The input that a network expects.

    Attributes:
        preprocessing: How a photo is resized, cropped and scaled.
        layout: Order of the dimensions; None to use that of the file.
    """

    preprocessing: Preprocessing
    layout: Layout | None = None


def parse_preprocessing(text: str, *, side: int | None) -> Wanted:
    """Parse a description of preprocessing.

    Args:
        text: Description such as `squash:321,range:0..1`, or the name of one of `PRESETS`.
        side: Side of the network's input images, which the description need not repeat; None if the network does
            not tell it.

    Raises:
        SettingsError: A part is unknown or its value is out of range.
    """
    parts = _parts(PRESETS.get(text, text))
    resize, crop, squash = (_whole(parts.pop(name, None), name) for name in ("short", "crop", "squash"))
    low, high = _numbers(parts.pop("range", "0..1"), "..", 2, "range")
    mean = _numbers(parts.pop("mean", "0/0/0"), "/", 3, "mean")
    std = _numbers(parts.pop("std", "1/1/1"), "/", 3, "std")
    layout = parts.pop("layout", "").upper()
    if parts:
        raise SettingsError(
            f"`preprocessing` has an unknown part {next(iter(parts))!r}: give some of short, crop, squash, range, "
            "mean, std, layout"
        )
    if layout not in {"", "NHWC", "NCHW"}:
        raise SettingsError(f"`preprocessing` must have the layout NHWC or NCHW, not {layout}")
    if squash is not None and (resize is not None or crop is not None):
        raise SettingsError("`preprocessing` must have squash, or short and crop, not both")
    sides = {value for value in (squash, crop) if value is not None}
    if side is None:
        if not sides:
            raise SettingsError("`preprocessing` must have crop or squash: the file does not tell the side")
        side = sides.pop()
    if sides - {side}:
        raise SettingsError(f"`preprocessing` gives {max(sides)} pixels and the network takes {side}: give {side}")
    if not high > low or min(std) <= 0:
        raise SettingsError("`preprocessing` must have a range that rises and a std above 0")
    # Rewrite (x * (high - low) + low - mean) / std as (x - mean) / std, the form in a model folder.
    span = high - low
    means = [(one - low) / span for one in mean]
    scales = [one / span for one in std]
    fit: Literal["crop", "squash"] = "squash" if squash is not None else "crop"
    short = side if fit == "squash" else resize or round(side * 256 / 224)
    try:
        preprocessing = Preprocessing(
            resize=short,
            crop=side,
            mean=(means[0], means[1], means[2]),
            std=(scales[0], scales[1], scales[2]),
            fit=fit,
        )
    except SettingsError as error:
        raise SettingsError(f"`preprocessing`: {error}") from error
    return Wanted(preprocessing, "NHWC" if layout == "NHWC" else "NCHW" if layout == "NCHW" else None)


def preprocessing_beside(model: Path) -> str:
    """Return the description in the `PREPROCESSING_FILE` beside a model as text; empty if there is none."""
    try:
        told = json.loads(model.with_name(PREPROCESSING_FILE).read_bytes())
        low, high = told["input"]["range"]
        return f"short:{told['resize']['short_side']},crop:{told['center_crop']},range:{low}..{high}"
    except (OSError, ValueError, KeyError, TypeError):  # a file of this name that others wrote
        return ""


def _parts(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        name, colon, value = part.strip().partition(":")
        if not colon or not value:
            known = ", ".join(PRESETS)
            raise SettingsError(
                f"`preprocessing` must be {known}, or parts such as squash:321, not {part.strip()!r}"
            )
        key = name.strip().lower()
        if key in found:
            raise SettingsError(f"`preprocessing` has {key} twice: give it once")
        found[key] = value.strip()
    return found


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SIDE:
        raise SettingsError(f"`preprocessing`: {name} must be pixels from 1 to {MAX_SIDE}, not {text!r}")
    return int(text)


def _numbers(text: str, separator: str, count: int, name: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(separator)]
    except ValueError:
        found = []
    if len(found) == 1 and separator == "/":
        found *= count
    if len(found) != count:
        example = separator.join(["0.5"] * count)
        raise SettingsError(f"`preprocessing`: {name} must be {count} numbers such as {example}, not {text!r}")
    return found
