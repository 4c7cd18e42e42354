"""Named operating points of a model: a trade-off between missed and wrong tags.

A model offers up to three: `precision` for fewer wrong tags, `recall` for more tags, and `balanced`, the default.
Each is stored with its expected rates, measured on photos that were not used to choose it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from landmarks.errors import SettingsError

Preference = Literal["precision", "balanced", "recall"]
"""Names of the operating points, from the fewest tags to the most."""

UNCALIBRATED_MIN_CONFIDENCE = 0.8
"""Probability that a tag of a model without a calibration needs: softmax alone is too sure of itself."""

TIMES: Mapping[Preference, float] = {"precision": 0.5, "balanced": 1.0, "recall": 2.0}
"""Operating points of an export: how many times the target rates each may reach."""

FOLDS = 5
"""Folds of an export. With fewer kinds of photos, or landmarks, than that, each is spread over the folds."""

NO_POINT = (
    "`prefer` is {prefer}, but the model has no such operating point: use balanced, or export the model again "
    "with landmarks export and at least {needed} photos in --negatives"
)
"""Error message if a model lacks an operating point."""

WORDS = {
    "tagged_rightly": "tagged rightly",
    "tagged_wrongly": "tagged wrongly",
    "false_tags_ordinary": "false tags on ordinary photos",
    "false_tags_unknown": "false tags on unknown landmarks",
}
"""Labels of the rates of an operating point, by their stored name."""


def same_groups(fitted_on: Mapping[str, Any], sort: Literal["kind", "landmark"]) -> bool:
    """Return whether expected rates were measured on other photos of the groups that chose the thresholds.

    Args:
        fitted_on: As stored with a calibration; it has the rate of each kind and landmark.
        sort: Kinds of ordinary photos, or unknown landmarks.
    """
    groups = [name for name in fitted_on.get("rates", {}) if name.startswith(f"{sort} ")]
    return 0 < len(groups) < FOLDS


def rate_labels(fitted_on: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the rates by their stored name; they say if the groups are those of the thresholds.

    Args:
        fitted_on: As stored with a calibration.
    """
    labels = dict(WORDS)
    if same_groups(fitted_on, "kind"):
        labels["false_tags_ordinary"] += " of the same kinds"
    if same_groups(fitted_on, "landmark"):
        labels["false_tags_unknown"] = "false tags on the same unknown landmarks"
    return labels


def estimated(fitted_on: Mapping[str, Any]) -> str:
    """Return what is to be said of rates of false tags that were not measured with this very file; else nothing.

    Args:
        fitted_on: As stored with a calibration; with `table` its photos are those of the package's table, and
            `carried_over_on` are those on which its thresholds were moved to it from another network.
    """
    if fitted_on.get("table"):
        return (
            "The photos that should get no tag are those of a table of the package, not of the exporter: the same "
            "backbone embedded them in 32 bits, and they never went through this file."
        )
    if "carried_over_on" not in fitted_on:
        return ""
    return (
        "The rates of false tags are estimates: those of a network that was trained in the same way without "
        "these landmarks and some of these kinds of photos. This one learnt them too; the thresholds were moved "
        f"to it on {fitted_on['carried_over_on']} photos that should get no tag."
    )


@dataclass(frozen=True)
class ExpectedRate:
    """A fraction of `count` photos, with its 95 % interval; all three in [0, 1].

    Raises:
        SettingsError: The values are out of range or not in order.
    """

    value: float
    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.value <= self.high <= 1 and self.count >= 1):
            raise SettingsError(
                f"{self.value} ({self.low} to {self.high}) of {self.count} is not a share of photos"
            )


@dataclass(frozen=True)
class ExpectedRates:
    """Expected rates at an operating point; None if not measured.

    Attributes:
        tagged_rightly: Photos of known landmarks that get the correct tag.
        tagged_wrongly: Photos of known landmarks that get a wrong tag.
        false_tags_ordinary: Photos without a landmark that get a tag; `same_groups` says of which kinds.
        false_tags_unknown: Photos of unknown landmarks that get a tag, likewise.
    """

    tagged_rightly: ExpectedRate | None = None
    tagged_wrongly: ExpectedRate | None = None
    false_tags_ordinary: ExpectedRate | None = None
    false_tags_unknown: ExpectedRate | None = None

    def measured(self) -> Iterator[tuple[str, ExpectedRate]]:
        """Yield the measured rates, as (label, rate)."""
        for name, words in WORDS.items():
            rate: ExpectedRate | None = getattr(self, name)
            if rate is not None:
                yield words, rate


@dataclass(frozen=True)
class OperatingPoint:
    """Two thresholds and their expected rates.

    Attributes:
        threshold: A photo with a lower OOD score gets no tag.
        min_confidence: Minimum probability for a tag, in (0, 1).
        expected: Rates measured at these thresholds.

    Raises:
        SettingsError: A threshold is out of range.
    """

    threshold: float
    min_confidence: float
    expected: ExpectedRates = field(default_factory=ExpectedRates)

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise SettingsError(f"`threshold` must be a number, not {self.threshold}")
        if not 0 < self.min_confidence < 1:
            raise SettingsError(f"`min_confidence` must be above 0 and below 1, not {self.min_confidence}")


def check_points(points: Mapping[Preference, OperatingPoint], *, threshold: float, min_confidence: float) -> None:
    """Refuse operating points that contradict each other or the default thresholds of a model.

    Args:
        points: Operating points by name; may be empty.
        threshold: Threshold of the calibration.
        min_confidence: Minimum confidence of the calibration.

    Raises:
        SettingsError: A name is unknown, `balanced` is missing or differs from the calibration, or the thresholds
            decrease from `recall` to `precision`.
    """
    if not points:
        return
    unknown = sorted(set(points) - set(get_args(Preference)))
    if unknown:
        raise SettingsError(f"{unknown[0]!r} is not an operating point: use {', '.join(get_args(Preference))}")
    balanced = points.get("balanced")
    if balanced is None or (balanced.threshold, balanced.min_confidence) != (threshold, min_confidence):
        raise SettingsError("the operating point balanced must have the threshold and the confidence of the model")
    thresholds = [points[name].threshold for name in get_args(Preference) if name in points]
    if thresholds != sorted(thresholds, reverse=True):
        raise SettingsError("the thresholds must not fall from recall over balanced to precision")


def points_to_dict(points: Mapping[Preference, OperatingPoint]) -> dict[str, Any]:
    """Return the operating points as they are stored in `model.json`."""
    return {
        name: {**asdict(point), "expected": {key: rate for key, rate in asdict(point.expected).items() if rate}}
        for name, point in points.items()
    }


def points_from_dict(values: Mapping[str, Any]) -> dict[Preference, OperatingPoint]:
    """Create operating points from the values of `points_to_dict`.

    Raises:
        SettingsError: A value is out of range.
        KeyError: A value is missing.
        TypeError: A value is unknown or has the wrong type.
    """
    points: dict[Any, OperatingPoint] = {}
    for name, point in values.items():
        expected = point.get("expected", {})
        known = {item.name for item in fields(ExpectedRates)}
        # A newer version may store more rates; the known ones keep their meaning.
        rates = {key: ExpectedRate(**rate) for key, rate in expected.items() if key in known}
        points[name] = OperatingPoint(
            float(point["threshold"]), float(point["min_confidence"]), ExpectedRates(**rates)
        )
    return points
