"""Thresholds against their target rate; round trip through model.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError, ModelError, SettingsError
from landmarks.model.calibration import Calibration, Outputs, calibrate, choose_threshold, negatives_by_folder
from landmarks.model.combination import EVIDENCE
from landmarks.model.ood import EmbeddingStatistics, ScoreKind

KNOWN = np.array([True, True, False])
LOGITS = np.array([[5.0, 1.0, 0.0], [1.0, 1.2, 4.0], [2.0, 2.1, 0.5]])
EMBEDDINGS = np.array([[2.0, 0.1, 0.0], [0.0, 0.1, 0.9], [0.6, 0.7, 0.0]])
MEANS = np.eye(3, dtype=np.float32)
scores_lists = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.sampled_from([0.01, 0.05, 0.1, 0.3]), st.integers(0, 2**32 - 1))
def test_threshold_lets_so_many_negatives_through_as_the_promise_allows(n: int, rate: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=n)
    if n + 1 < 1 / rate - 1e-9:
        with pytest.raises(DataError, match="negatives cannot promise"):
            choose_threshold(scores, rate)
        return
    threshold = choose_threshold(scores, rate)
    through = int((scores >= threshold).sum())
    assert (through + 1) / (n + 1) <= rate + 1e-9
    assert (through + 2) / (n + 1) > rate - 1e-9


def test_threshold_keeps_its_promise_on_new_pictures() -> None:
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(400):
        threshold = choose_threshold(rng.normal(size=150), 0.02)
        rates.append((rng.normal(size=500) >= threshold).mean())
    assert np.mean(rates) <= 0.02 * 1.05


def test_threshold_does_not_let_ties_through() -> None:
    assert choose_threshold(np.ones(200), 0.05) > 1


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_threshold_refuses_rates_that_are_none(rate: float) -> None:
    with pytest.raises(SettingsError, match="target false-positive rate"):
        choose_threshold(np.arange(10.0), rate)


def test_kinds_are_found_in_the_splits_of_a_data_set(tmp_path: Path) -> None:
    for photo in ("train/Beach/0.jpg", "Test/Beach/more/1.jpg", "Test/Tower/2.jpg", "Rooms/3.jpg", "train/4.jpg"):
        (tmp_path / photo).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / photo).touch()
    groups, known = negatives_by_folder(tmp_path, ["01.tower", "Castle"])
    assert {name: len(photos) for name, photos in groups.items()} == {"Beach": 2, "Rooms": 1, "train": 1}
    assert known == ("Tower",)


@pytest.mark.parametrize("score", ["known_mass", "class_mean", "mahalanobis"])
def test_calibration_is_the_same_after_model_json(score: ScoreKind) -> None:
    valid, labels = Outputs(LOGITS, EMBEDDINGS), np.array([0, 2, 1])
    rng = np.random.default_rng(0)
    negatives = Outputs(rng.normal(size=(120, 3)), rng.normal(size=(120, 3)))
    statistics = EmbeddingStatistics.fit(np.repeat(EMBEDDINGS, 2, axis=0), np.repeat(labels, 2), 3)
    fitted = calibrate(valid, labels, negatives, ("a", "b", "background"), score=score, statistics=statistics)
    assert fitted.fitted_on == {"validation": 3, "negatives": 120}
    assert (fitted.statistics is not None) is (score != "known_mass")
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())), fitted.temperature)
    assert again.to_dict() == fitted.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"fitted_on": None},
        {"fitted_on": []},
        {"fitted_on": {"negatives": 120, "rates": None}},
        {"threshold": 10**400},
        {"score": "guess"},
        {"threshold": float("nan")},
        {"target_fpr": 1},
        {"min_confidence": 0},
        {"statistics": {"means": {"shape": [2, 2], "float16": "AAAA"}}},
        {"statistics": {"means": {"shape": [1, 1], "float16": "no base64"}}},
        {"statistics": 3},
        {"score": "class_mean"},
        {"unknown": 1},
        {
            "combination": {
                "weights": dict.fromkeys(EVIDENCE, 1),
                "bias": 0,
                "neighbours": {"dimensions": math.inf},
            }
        },
    ],
)
def test_a_damaged_calibration_is_refused(change: dict[str, object]) -> None:
    values = Calibration(1.0, "energy", 2.0, 0.01).to_dict()
    with pytest.raises(ModelError, match="calibration is damaged"):
        Calibration.from_dict({**values, **change}, 1.0)
