"""OOD scores as defined in their papers, and distances against a slow reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError, SettingsError
from landmarks.model.ood import (
    SHRINKAGE,
    SPREAD_RANK,
    EmbeddingStatistics,
    ScoreKind,
    is_landmark,
    ood_scores,
)

KNOWN = np.array([True, True, False])
LOGITS = np.array([[5.0, 1.0, 0.0], [1.0, 1.2, 4.0], [2.0, 2.1, 0.5]])
EMBEDDINGS = np.array([[2.0, 0.1, 0.0], [0.0, 0.1, 0.9], [0.6, 0.7, 0.0]])
STATISTICS = EmbeddingStatistics(np.eye(3, dtype=np.float32), np.zeros((1, 3), dtype=np.float32), 0.5)


def scores_of(score: ScoreKind, temperature: float = 1.0) -> np.ndarray:
    return ood_scores(score, LOGITS, EMBEDDINGS, known=KNOWN, temperature=temperature, statistics=STATISTICS)


def drawn_embeddings(seed: int, size: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of unit length that spread more in some directions than in others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(20 * classes) % classes
    spread = np.geomspace(1.0, 0.05, size)
    vectors = rng.normal(size=(classes, size))[labels] + rng.normal(size=(len(labels), size)) * spread
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def slow_distances(vectors: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Mahalanobis distances with the whole covariance, shrunk towards its mean variance, inverted."""
    means = np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    gaps = vectors - means[labels]
    covariance = gaps.T @ gaps / len(gaps)
    size = len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
    inverse = np.linalg.inv(shrunk)
    return np.array([[(one - mean) @ inverse @ (one - mean) for mean in means] for one in asked])


def test_scores_are_what_their_papers_say() -> None:
    chances = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert scores_of("max_probability") == pytest.approx(chances[:, :2].max(axis=1))
    assert scores_of("known_mass") == pytest.approx(np.log(chances[:, :2].sum(axis=1) / chances[:, 2]))
    assert scores_of("energy") == pytest.approx(np.log(np.exp(LOGITS[:, :2]).sum(axis=1)))
    assert scores_of("energy", 2.0) == pytest.approx(2 * np.log(np.exp(LOGITS[:, :2] / 2).sum(axis=1)))
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    assert scores_of("class_mean") == pytest.approx(unit[:, :2].max(axis=1))
    likeliest = LOGITS[:, :2].argmax(axis=1)
    gaps = ((unit - np.eye(3)[likeliest]) ** 2).sum(axis=1)
    assert scores_of("mahalanobis") == pytest.approx(-gaps / 0.5)


@pytest.mark.parametrize("score", ["max_probability", "known_mass", "energy", "class_mean", "mahalanobis"])
def test_every_score_puts_a_landmark_above_the_background(score: ScoreKind) -> None:
    found = scores_of(score)
    assert found[0] > found[2] > found[1]


def test_a_score_without_its_statistics_is_refused() -> None:
    with pytest.raises(SettingsError, match="statistics"):
        ood_scores("class_mean", LOGITS, EMBEDDINGS, known=KNOWN)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 24))
def test_distances_are_those_of_the_whole_covariance_while_all_directions_are_kept(seed: int, size: int) -> None:
    vectors, labels = drawn_embeddings(seed, size)
    assert size - 1 < SPREAD_RANK
    fast = EmbeddingStatistics.fit(vectors, labels, 3).distances(vectors[:10])
    np.testing.assert_allclose(fast, slow_distances(vectors, labels, vectors[:10]), rtol=0.02, atol=0.1)


def test_fewer_directions_rank_pictures_as_the_whole_covariance_does() -> None:
    vectors, labels = drawn_embeddings(0, 200)
    strangers = np.random.default_rng(1).normal(size=(20, 200))
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    asked = np.concatenate([vectors[:20], strangers])
    few = EmbeddingStatistics.fit(vectors, labels, 3)
    assert few.factor.shape == (SPREAD_RANK, 200)
    fast, slow = few.distances(asked).min(axis=1), slow_distances(vectors, labels, asked).min(axis=1)
    assert fast[:20].max() < fast[20:].min()
    assert np.corrcoef(fast, slow)[0, 1] > 0.99


def test_statistics_need_every_class_and_fit_together() -> None:
    with pytest.raises(DataError, match="class 1 has no embedding"):
        EmbeddingStatistics.fit(np.ones((2, 2)), np.array([0, 2]), 3)
    with pytest.raises(SettingsError, match="do not fit"):
        EmbeddingStatistics(np.ones((2, 3), np.float32), np.ones((1, 4), np.float32), 1.0)
    with pytest.raises(SettingsError, match="noise"):
        EmbeddingStatistics(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32), 0.0)


def test_statistics_are_the_same_after_model_json() -> None:
    fitted = EmbeddingStatistics.fit(*drawn_embeddings(2, 16), 3)
    again = EmbeddingStatistics.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(again.means, fitted.means)
    np.testing.assert_array_equal(again.factor, fitted.factor)
    assert again.noise == fitted.noise


@pytest.mark.parametrize("name", ["background", "34.Background", "BACKGROUND"])
def test_the_background_is_no_landmark(name: str) -> None:
    assert is_landmark(["07.Eiffel_Tower", name]).tolist() == [True, False]
