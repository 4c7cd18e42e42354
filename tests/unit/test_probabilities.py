"""Temperatures are found where the labels were drawn with one."""

from __future__ import annotations

import numpy as np
import pytest

from landmarks.model.probabilities import fit_temperature, log_sum_exp, softmax


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_fit_temperature_finds_the_one_the_labels_were_drawn_at(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (6000, 5))
    chances = softmax(logits, temperature)
    labels = np.array([rng.choice(5, p=row) for row in chances])
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_where_every_answer_is_right_none_becomes_certain(scale: float) -> None:
    logits = scale * np.eye(4)
    chances = softmax(logits, fit_temperature(logits, np.arange(4)))
    assert chances.max(axis=1) == pytest.approx(5 / 6), "as if one of six was wrong"


def test_softmax_and_log_sum_exp_stand_large_logits() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0]])
    assert softmax(logits)[0] == pytest.approx([1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1)), 0.0])
    assert log_sum_exp(logits)[0] == pytest.approx(1000 + np.log1p(np.exp(-1)))
