"""Operating points: model.json there and back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from landmarks.errors import ModelError, SettingsError
from landmarks.model.calibration import Calibration
from landmarks.model.operating_points import ExpectedRate, ExpectedRates, OperatingPoint

RATE = ExpectedRate(0.01, 0.005, 0.02, 900)
BALANCED = OperatingPoint(
    0.5, 0.5, ExpectedRates(tagged_rightly=replace(RATE, value=0.02), false_tags_unknown=RATE)
)
POINTS = {
    "precision": OperatingPoint(0.9, 0.7),
    "balanced": BALANCED,
    "recall": OperatingPoint(0.2, 0.5, ExpectedRates(false_tags_ordinary=RATE)),
}


def calibration(**changes: object) -> Calibration:
    values = {"temperature": 1.0, "threshold": 0.5, "target_fpr": 0.01, "operating_points": POINTS, **changes}
    return Calibration(score="known_mass", **values)


def test_operating_points_are_the_same_after_model_json() -> None:
    stored = json.loads(json.dumps(calibration().to_dict()))
    read = Calibration.from_dict(stored)
    assert read.operating_points == POINTS
    assert read.at("recall") == POINTS["recall"]
    assert [words for words, _ in read.at("balanced").expected.measured()] == [
        "tagged rightly",
        "false tags on unknown landmarks",
    ]


def test_an_older_model_has_only_the_balanced_point() -> None:
    stored = calibration(operating_points={}, min_confidence=0.6).to_dict()
    del stored["operating_points"]
    read = Calibration.from_dict(stored)
    assert read.at("balanced") == OperatingPoint(0.5, 0.6)
    with pytest.raises(SettingsError, match=r"`prefer` is recall.*export the model again"):
        read.at("recall")


def test_rates_of_a_newer_version_are_passed_over() -> None:
    stored = calibration().to_dict()
    stored["operating_points"]["recall"]["expected"]["of_tomorrow"] = {"what": "ever"}
    assert Calibration.from_dict(stored).operating_points == POINTS


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            {"best": BALANCED, "balanced": BALANCED},
            "'best' is no operating point: use precision, balanced, recall",
        ),
        ({"recall": OperatingPoint(0.2, 0.5)}, "balanced must have the threshold"),
        ({"balanced": replace(BALANCED, min_confidence=0.4)}, "balanced must have the threshold"),
        ({"balanced": BALANCED, "precision": OperatingPoint(0.4, 0.5)}, "must not fall"),
    ],
)
def test_contradicting_points_are_refused(points: dict[str, OperatingPoint], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        calibration(operating_points=points)


@pytest.mark.parametrize("value", [None, [], {"balanced": {}}, {"balanced": {"threshold": "x"}}, {"balanced": 3}])
def test_damaged_points_are_a_damaged_model(value: object) -> None:
    with pytest.raises(ModelError, match="the calibration is damaged"):
        Calibration.from_dict({**calibration().to_dict(), "operating_points": value})


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="`min_confidence` must lie between 0 and 1"):
        OperatingPoint(0.5, 1.0)
    with pytest.raises(SettingsError, match="`threshold` must be a number"):
        OperatingPoint(float("nan"), 0.5)
    with pytest.raises(SettingsError, match="not a share"):
        ExpectedRate(0.5, 0.6, 0.7, 10)
