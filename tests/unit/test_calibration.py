"""Fast measures against slow, obvious ones; thresholds against their promise; model.json there and back."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.calibration import (
    Calibration,
    Outputs,
    ScoreKind,
    auroc,
    calibrate,
    calibration_error,
    choose_threshold,
    class_means,
    fit_temperature,
    is_landmark,
    micro_average_precision,
    share_at,
    softmax,
    unknown_scores,
)
from landmarks.errors import DataError, ModelError, SettingsError

KNOWN = np.array([True, True, False])
LOGITS = np.array([[5.0, 1.0, 0.0], [1.0, 1.2, 4.0], [2.0, 2.1, 0.5]])
EMBEDDINGS = np.array([[2.0, 0.1, 0.0], [0.0, 0.1, 0.9], [0.6, 0.7, 0.0]])
MEANS = np.eye(3, dtype=np.float32)
scores_lists = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=30)


def slow_uap(confidences: list[float], right: list[bool], landmarks: int) -> float:
    """The definition, pair by pair: the sum over right answers of the precision at their rank."""
    answers = sorted(zip(confidences, right, strict=True), key=lambda answer: -answer[0])
    total = 0.0
    for rank in range(1, len(answers) + 1):
        if answers[rank - 1][1]:
            total += sum(is_right for _, is_right in answers[:rank]) / rank
    return total / landmarks


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6).map(float), st.booleans()), max_size=30), st.integers(1, 40))
def test_uap_is_its_definition(answers: list[tuple[float, bool]], landmarks: int) -> None:
    confidences, right = [a[0] for a in answers], [a[1] for a in answers]
    fast = micro_average_precision(np.array(confidences), np.array(right, dtype=bool), landmarks)
    assert fast == pytest.approx(slow_uap(confidences, right, landmarks))


def test_uap_of_answers_worked_out_by_hand() -> None:
    right = np.array([True, False, True])
    assert micro_average_precision(np.array([0.9, 0.8, 0.7]), right, 4) == pytest.approx((1 + 2 / 3) / 4)


@settings(deadline=None)
@given(scores_lists, scores_lists)
def test_auroc_is_the_share_of_pairs_in_order(positives: list[float], negatives: list[float]) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positives, negatives)]
    assert auroc(np.array(positives), np.array(negatives)) == pytest.approx(np.mean(pairs))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_is_the_weighted_gap_of_each_bin(answers: list[tuple[float, bool]]) -> None:
    error = 0.0
    for index in range(15):
        low, high = np.linspace(0, 1, 16)[index : index + 2]
        inside = [a for a in answers if low < a[0] <= high or (index == 0 and a[0] == 0)]
        if inside:
            gap = abs(np.mean([a[0] for a in inside]) - np.mean([a[1] for a in inside]))
            error += len(inside) / len(answers) * gap
    found = calibration_error(np.array([a[0] for a in answers]), np.array([a[1] for a in answers]))
    assert found == pytest.approx(error, abs=1e-9)


def test_share_at_counts_what_reaches_the_threshold() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    assert share_at(scores, 3.0) == 0.5
    assert share_at(scores, 2.0, np.array([True, True, False, True])) == 0.5


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_fit_temperature_finds_the_one_the_labels_were_drawn_at(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (6000, 5))
    chances = softmax(logits, temperature)
    labels = np.array([rng.choice(5, p=row) for row in chances])
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


def test_fit_temperature_stays_finite_where_every_answer_is_right() -> None:
    assert 0.01 <= fit_temperature(np.eye(4), np.arange(4)) < 0.05


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
    assert share_at(np.ones(200), choose_threshold(np.ones(200), 0.05)) == 0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_threshold_refuses_rates_that_are_none(rate: float) -> None:
    with pytest.raises(SettingsError, match="promised rate"):
        choose_threshold(np.arange(10.0), rate)


def scores_of(score: ScoreKind, temperature: float = 1.0) -> np.ndarray:
    return unknown_scores(score, LOGITS, EMBEDDINGS, known=KNOWN, temperature=temperature, means=MEANS)


def test_scores_are_what_their_papers_say() -> None:
    chances = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert scores_of("max_probability") == pytest.approx(chances[:, :2].max(axis=1))
    assert scores_of("known_mass") == pytest.approx(np.log(chances[:, :2].sum(axis=1) / chances[:, 2]))
    assert scores_of("energy") == pytest.approx(np.log(np.exp(LOGITS[:, :2]).sum(axis=1)))
    assert scores_of("energy", 2.0) == pytest.approx(2 * np.log(np.exp(LOGITS[:, :2] / 2).sum(axis=1)))
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    assert scores_of("class_mean") == pytest.approx(unit[:, :2].max(axis=1))


@pytest.mark.parametrize("score", ["max_probability", "known_mass", "energy", "class_mean", "combined"])
def test_every_score_puts_a_landmark_above_the_background(score: ScoreKind) -> None:
    found = scores_of(score)
    assert found[0] > found[2] > found[1]


def test_a_score_without_its_means_is_refused() -> None:
    with pytest.raises(SettingsError, match="class means"):
        unknown_scores("class_mean", LOGITS, EMBEDDINGS, known=KNOWN)


def test_class_means_have_unit_length_and_need_every_class() -> None:
    means = class_means(np.array([[2.0, 0.0], [0.0, 3.0], [5.0, 0.0]]), np.array([0, 1, 0]), 2)
    np.testing.assert_allclose(means, np.eye(2))
    with pytest.raises(DataError, match="class 1 has no embedding"):
        class_means(np.ones((2, 2)), np.array([0, 2]), 3)


@pytest.mark.parametrize("name", ["background", "34.Background", "BACKGROUND"])
def test_the_background_is_no_landmark(name: str) -> None:
    assert is_landmark(["07.Eiffel_Tower", name]).tolist() == [True, False]


@pytest.mark.parametrize("score", ["known_mass", "class_mean"])
def test_calibration_is_the_same_after_model_json(score: ScoreKind) -> None:
    valid, labels = Outputs(LOGITS, EMBEDDINGS), np.array([0, 2, 1])
    rng = np.random.default_rng(0)
    negatives = Outputs(rng.normal(size=(120, 3)), rng.normal(size=(120, 3)))
    means = class_means(EMBEDDINGS, labels, 3)
    fitted = calibrate(valid, labels, negatives, ("a", "b", "background"), score=score, means=means)
    assert fitted.fitted_on == {"validation": 3, "negatives": 120}
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert replace(again, class_means=None, score="energy").to_dict() == (
        replace(fitted, class_means=None, score="energy").to_dict()
    )
    if score == "class_mean":
        assert fitted.class_means is not None
        np.testing.assert_array_equal(again.class_means, fitted.class_means)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "warm"},
        {"score": "guess"},
        {"threshold": float("nan")},
        {"promised_rate": 1},
        {"sure": 0},
        {"class_means": {"shape": [2, 2], "float16": "AAAA"}},
        {"class_means": {"shape": [1, 1], "float16": "no base64"}},
        {"score": "class_mean"},
        {"unknown": 1},
    ],
)
def test_a_damaged_calibration_is_refused(change: dict[str, object]) -> None:
    values = Calibration(1.0, "energy", 2.0, 0.01).to_dict()
    with pytest.raises(ModelError, match="calibration is damaged"):
        Calibration.from_dict({**values, **change})
