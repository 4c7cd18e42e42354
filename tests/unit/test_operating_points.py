"""Operating points: round trip through model.json, and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import calibrated, make_model, save_colour

from landmarks.errors import ModelError, SettingsError
from landmarks.model.calibration import Calibration
from landmarks.model.folder import find_model, read_info
from landmarks.model.operating_points import (
    WORDS,
    ExpectedRate,
    ExpectedRates,
    OperatingPoint,
    estimated,
    rate_labels,
)
from landmarks.tagging.pipeline import Model
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding

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
    read = Calibration.from_dict(stored, 1.0)
    assert read.operating_points == POINTS
    assert read.at("recall") == POINTS["recall"]
    assert [words for words, _ in read.at("balanced").expected.measured()] == [
        "tagged rightly",
        "false tags on unknown landmarks",
    ]


def test_rates_say_whose_they_are() -> None:
    few = {"rates": {"kind castles": RATE, "landmark Petra": RATE}}
    assert {*rate_labels(few).values()} >= {
        "false tags on ordinary photos of the same kinds",
        "false tags on the same unknown landmarks",
    }
    bundled = (read_info(find_model("world")).calibration or {})["fitted_on"]
    assert rate_labels(bundled) == WORDS
    assert estimated(bundled).startswith("The rates of false tags are estimates")
    assert estimated(few) == ""
    assert estimated({**few, "table": True}).startswith(
        "The photos that should get no tag are those of a table of"
    )


def test_an_older_model_has_only_the_balanced_point() -> None:
    stored = calibration(operating_points={}, min_confidence=0.6).to_dict()
    del stored["operating_points"]
    read = Calibration.from_dict(stored, 1.0)
    assert read.at("balanced") == OperatingPoint(0.5, 0.6)
    with pytest.raises(SettingsError, match=r"`prefer` is recall.*export the model again"):
        read.at("recall")


def test_rates_of_a_newer_version_are_passed_over() -> None:
    stored = calibration().to_dict()
    stored["operating_points"]["recall"]["expected"]["of_tomorrow"] = {"what": "ever"}
    assert Calibration.from_dict(stored, 1.0).operating_points == POINTS


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            {"best": BALANCED, "balanced": BALANCED},
            "'best' is not an operating point: use precision, balanced, recall",
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
        Calibration.from_dict({**calibration().to_dict(), "operating_points": value}, 1.0)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="`min_confidence` must be above 0 and below 1"):
        OperatingPoint(0.5, 1.0)
    with pytest.raises(SettingsError, match="`threshold` must be a number"):
        OperatingPoint(float("nan"), 0.5)
    with pytest.raises(SettingsError, match="not a share"):
        ExpectedRate(0.5, 0.6, 0.7, 10)


def found(tmp_path: Path, **settings: object) -> Finding:
    """Of a bluish grey, whose score lies between the thresholds of precision and recall."""
    points = {
        "precision": OperatingPoint(0.9, 0.7),
        "balanced": OperatingPoint(0.7, 0.5),
        "recall": OperatingPoint(0.2, 0.3),
    }
    folder = tmp_path / "colours"
    if not folder.is_dir():
        make_model(folder, calibration=calibrated(threshold=0.7, operating_points=points))
    photo = save_colour(tmp_path / "photo.png", (86, 86, 195))
    return next(Model(folder, TagSettings(**settings)).find([photo]))


def test_a_preference_moves_the_threshold(tmp_path: Path) -> None:
    seen = {prefer: found(tmp_path, prefer=prefer) for prefer in ("precision", "balanced", "recall")}
    assert {name: one.explanation.score_needed for name, one in seen.items()} == {
        "precision": 0.9,
        "balanced": 0.7,
        "recall": 0.2,
    }
    assert {name: one.explanation.needed for name, one in seen.items()} == {
        "precision": 0.7,
        "balanced": 0.5,
        "recall": 0.3,
    }
    score = seen["recall"].explanation.score
    assert 0.2 < score < 0.7, "the colour must lie between the thresholds"
    assert [bool(seen[name].photo.tags) for name in ("precision", "balanced", "recall")] == [False, False, True]
    assert len({one.photo.model for one in seen.values()}) == 3, "another threshold means other tags"


def test_a_minimum_confidence_wins_over_that_of_the_preference(tmp_path: Path) -> None:
    assert found(tmp_path, prefer="recall", min_confidence=0.9).explanation.needed == 0.9


def test_models_without_operating_points_have_one_preference(tmp_path: Path) -> None:
    for name, calibration in (("plain", None), ("old", calibrated())):
        folder = make_model(tmp_path / name, calibration=calibration)
        Model(folder, TagSettings(prefer="balanced"))
        with pytest.raises(SettingsError, match=r"`prefer` is precision.*landmarks export"):
            Model(folder, TagSettings(prefer="precision"))
    with pytest.raises(SettingsError, match="`prefer` must be one of precision, balanced, recall, not 'best'"):
        TagSettings(prefer="best")
