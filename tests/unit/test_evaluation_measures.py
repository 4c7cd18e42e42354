"""Fast metrics of selective prediction against slow, obvious ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.training.evaluation.measures import (
    auroc,
    fpr_at_recall,
    global_average_precision,
    pass_rates,
    risk_coverage,
)

scores_lists = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=30)
answers_lists = st.lists(st.tuples(st.integers(0, 6).map(float), st.booleans()), min_size=1, max_size=30)


def split(answers: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in answers]), np.array([right for _, right in answers], dtype=bool)


@settings(deadline=None)
@given(answers_lists)
def test_risk_and_coverage_are_counted_at_every_threshold(answers: list[tuple[float, bool]]) -> None:
    curve = risk_coverage(*split(answers))
    thresholds = sorted({score for score, _ in answers}, reverse=True)
    assert curve.thresholds.tolist() == thresholds
    risks = []
    for position, threshold in enumerate(thresholds):
        answered = [right for score, right in answers if score >= threshold]
        risks.append(sum(not right for right in answered) / len(answered))
        assert curve.coverage[position] == pytest.approx(len(answered) / len(answers))
        assert curve.risk[position] == pytest.approx(risks[-1])
    at = dict(zip(thresholds, risks, strict=True))
    assert curve.area == pytest.approx(sum(at[score] for score, _ in answers) / len(answers))


@settings(deadline=None)
@given(answers_lists, st.randoms())
def test_measures_do_not_depend_on_the_order_of_photos(answers: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert risk_coverage(*split(answers)).area == pytest.approx(risk_coverage(*split(shuffled)).area)
    first, second = (global_average_precision(*split(some), len(answers)) for some in (answers, shuffled))
    assert first == pytest.approx(second)


@settings(deadline=None)
@given(answers_lists)
def test_gap_takes_wrong_answers_first_among_equals(answers: list[tuple[float, bool]]) -> None:
    ranked = sorted(answers, key=lambda answer: (-answer[0], answer[1]))
    total = 0.0
    for rank in range(1, len(ranked) + 1):
        if ranked[rank - 1][1]:
            total += sum(right for _, right in ranked[:rank]) / rank
    assert global_average_precision(*split(answers), 30) == pytest.approx(total / 30)


def test_gap_of_answers_worked_out_by_hand() -> None:
    right = np.array([True, False, True])
    assert global_average_precision(np.array([0.9, 0.8, 0.7]), right, 4) == pytest.approx((1 + 2 / 3) / 4)


@settings(deadline=None)
@given(scores_lists, scores_lists)
def test_auroc_is_the_share_of_pairs_in_order(positives: list[float], negatives: list[float]) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positives, negatives)]
    assert auroc(np.array(positives), np.array(negatives)) == pytest.approx(np.mean(pairs))


@settings(deadline=None)
@given(scores_lists, scores_lists, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_fpr_uses_the_strictest_threshold_that_keeps_the_recall(
    positives: list[float], negatives: list[float], recall: float
) -> None:
    enough = [t for t in positives if sum(p >= t for p in positives) >= recall * len(positives) - 1e-9]
    expected = np.mean([n >= max(enough) for n in negatives])
    assert fpr_at_recall(np.array(positives), np.array(negatives), recall) == pytest.approx(expected)


def test_fpr_at_95_of_20_lets_one_go() -> None:
    assert fpr_at_recall(np.arange(20.0), np.array([0.5, 1.0, 2.0])) == pytest.approx(2 / 3)


@settings(deadline=None)
@given(answers_lists, scores_lists)
def test_pass_rates_count_what_reaches_each_threshold(
    answers: list[tuple[float, bool]], thresholds: list[float]
) -> None:
    found = pass_rates(*split(answers), np.array(thresholds))
    expected = [np.mean([score >= one and passes for score, passes in answers]) for one in thresholds]
    assert found == pytest.approx(expected)
