"""Named operating points of a model: how much it says, and what that costs.

A threshold is a choice between tags that are missed and tags that are wrong. A model offers up to three:
`precision` says less and is wrong less often, `recall` says more, `balanced` is what a model does unasked. Each is
stored with the rates that were measured at it, on photos that did not choose it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from landmarks.errors import SettingsError

Preference = Literal["precision", "balanced", "recall"]
"""Operating points by name, from the one that says least to the one that says most."""

NO_POINT = (
    "`prefer` is {prefer}, but the model has no such operating point: use balanced, or export the model again "
    "with landmarks export --negatives"
)
"""The message where a model lacks an operating point."""

WORDS = {
    "tagged_rightly": "tagged rightly",
    "tagged_wrongly": "tagged wrongly",
    "false_tags_ordinary": "false tags on ordinary photos",
    "false_tags_unknown": "false tags on unknown landmarks",
}
"""The rates of an operating point, by the name they are stored under, in words."""


@dataclass(frozen=True)
class ExpectedRate:
    """A share of `count` photos, with the ends of its 95 % interval; all three in [0, 1].

    Raises:
        SettingsError: The values are no such share.
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
    """What to expect at an operating point; None where it was not measured.

    Attributes:
        tagged_rightly: Of photos of landmarks that the model knows.
        tagged_wrongly: Of the same photos.
        false_tags_ordinary: Of photos without a landmark, of kinds that chose no threshold.
        false_tags_unknown: Of photos of landmarks that the model does not know, none of which chose the threshold.
    """

    tagged_rightly: ExpectedRate | None = None
    tagged_wrongly: ExpectedRate | None = None
    false_tags_ordinary: ExpectedRate | None = None
    false_tags_unknown: ExpectedRate | None = None

    def measured(self) -> Iterator[tuple[str, ExpectedRate]]:
        """Give what was measured, as (words, rate)."""
        for name, words in WORDS.items():
            rate: ExpectedRate | None = getattr(self, name)
            if rate is not None:
                yield words, rate


@dataclass(frozen=True)
class OperatingPoint:
    """Two thresholds and what they lead to.

    Attributes:
        threshold: A photo whose out-of-distribution score is lower gets no tag.
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
            raise SettingsError(f"`min_confidence` must lie between 0 and 1, not {self.min_confidence}")


def check_points(points: Mapping[Preference, OperatingPoint], *, threshold: float, min_confidence: float) -> None:
    """Refuse operating points that contradict each other or the thresholds a model uses unasked.

    Args:
        points: By name; may be empty.
        threshold: Of the calibration.
        min_confidence: Likewise.

    Raises:
        SettingsError: A name is unknown, `balanced` is missing or another than the calibration's, or the
            thresholds fall from `recall` to `precision`.
    """
    if not points:
        return
    unknown = sorted(set(points) - set(get_args(Preference)))
    if unknown:
        raise SettingsError(f"{unknown[0]!r} is no operating point: use {', '.join(get_args(Preference))}")
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
    """Read back what `points_to_dict` gave.

    Raises:
        SettingsError: A value is out of range.
        KeyError: A value is missing; `TypeError` where one is of another kind or unknown.
    """
    points: dict[Any, OperatingPoint] = {}
    for name, point in values.items():
        expected = point.get("expected", {})
        known = {item.name for item in fields(ExpectedRates)}
        # A newer version may store further rates; these here keep their meaning.
        rates = {key: ExpectedRate(**rate) for key, rate in expected.items() if key in known}
        points[name] = OperatingPoint(
            float(point["threshold"]), float(point["min_confidence"]), ExpectedRates(**rates)
        )
    return points
