"""Fast metrics of OOD detection against slow, obvious ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.training.metrics.ood import auroc, micro_average_precision

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
