"""Neighbours against a slow, obvious search; the combined score against its parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError, SettingsError
from landmarks.model.combination import EVIDENCE, Combination, evidence_of, fit_weights
from landmarks.model.embedding_space import plain_space
from landmarks.model.neighbours import NEAREST, Neighbours, photos_per_class

SIZE, CLASSES = 24, 4


def drawn(seed: int, per_class: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of four classes, their labels, and embeddings of the background."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(CLASSES, SIZE))
    labels = np.repeat(np.arange(CLASSES), per_class)
    return middles[labels] + 0.4 * rng.normal(size=(len(labels), SIZE)), labels, rng.normal(size=(30, SIZE))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_mean_of_nearest(query: np.ndarray, kept: np.ndarray) -> float:
    return float(np.mean(sorted((float(query @ one) for one in kept), reverse=True)[:NEAREST]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_closeness_is_that_of_a_slow_search(seed: int, per_class: int) -> None:
    embeddings, labels, background = drawn(seed, per_class)
    neighbours = Neighbours.fit(embeddings, labels, background, classes=CLASSES, space=plain_space(SIZE))
    queries = np.random.default_rng(seed + 1).normal(size=(6, SIZE))
    asked = np.arange(6) % CLASSES
    found = neighbours.closeness(queries, asked)
    kept, far = unit(embeddings), unit(background)
    for i, query in enumerate(unit(queries)):
        of_classes = [slow_mean_of_nearest(query, kept[labels == k]) for k in range(CLASSES)]
        own = of_classes.pop(asked[i])
        # Vectors are bytes.
        assert found.own[i] == pytest.approx(own, abs=0.02)
        assert found.other[i] == pytest.approx(max(of_classes), abs=0.02)
        assert found.background[i] == pytest.approx(slow_mean_of_nearest(query, far), abs=0.02)


def test_blocks_of_photos_are_as_close_as_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels, background = drawn(0)
    known = np.arange(CLASSES) < CLASSES - 1
    neighbours = Neighbours.fit(
        embeddings[labels < CLASSES - 1], labels[labels < CLASSES - 1], background, classes=CLASSES - 1
    )
    logits = np.random.default_rng(1).normal(size=(len(labels), CLASSES))
    together = evidence_of(logits, embeddings, known, neighbours)
    monkeypatch.setattr("landmarks.model.neighbours._BLOCK", 100)
    monkeypatch.setattr("landmarks.model.combination._BLOCK", 20)
    np.testing.assert_allclose(evidence_of(logits, embeddings, known, neighbours), together, atol=1e-6)


def test_very_many_classes_store_fewer_photos_each() -> None:
    labels = np.repeat(np.arange(5_000), 12)
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    neighbours = Neighbours.fit(embeddings, labels, embeddings[:9], classes=5_000, space=plain_space(4))
    assert np.bincount(neighbours.labels[9:]).tolist() == [8] * 5_000
    assert [photos_per_class(classes) for classes in (0, 34, 2_000, 10_000, 81_000)] == [20, 20, 20, 4, 1]


def test_a_class_of_one_photo_is_as_close_as_that_photo() -> None:
    embeddings, labels, background = drawn(0)
    few = np.concatenate([[0], np.flatnonzero(labels > 0)])
    neighbours = Neighbours.fit(embeddings[few], labels[few], background, classes=CLASSES, space=plain_space(SIZE))
    assert neighbours.closeness(embeddings[:1], np.array([0])).own[0] == pytest.approx(1, abs=0.01)


def test_a_photo_is_closest_to_its_own() -> None:
    embeddings, labels, background = drawn(3)
    neighbours = Neighbours.fit(embeddings, labels, background, classes=CLASSES)
    found = neighbours.closeness(embeddings, labels)
    assert (found.own > found.other).all()
    assert (found.own > found.background).all()


def test_neighbours_without_a_background_say_so() -> None:
    embeddings, labels, _ = drawn(1)
    neighbours = Neighbours.fit(embeddings, labels, np.empty((0, SIZE)), classes=CLASSES)
    assert neighbours.closeness(embeddings[:3], labels[:3]).background.tolist() == [-1, -1, -1]


def test_every_class_needs_a_photo() -> None:
    embeddings, labels, background = drawn(1)
    with pytest.raises(DataError, match="class 4 has no photo"):
        Neighbours.fit(embeddings, labels, background, classes=5)
    fitted = Neighbours.fit(embeddings, labels, background, classes=CLASSES)
    with pytest.raises(SettingsError, match="do not fit"):
        Neighbours(fitted.space, fitted.vectors[:, 1:], fitted.labels)
    with pytest.raises(SettingsError, match="must rise"):
        Neighbours(fitted.space, fitted.vectors, fitted.labels[::-1].copy())
    with pytest.raises(SettingsError, match="each class"):
        Neighbours(fitted.space, fitted.vectors, np.where(fitted.labels == 1, 0, fitted.labels))


def logits_of(embeddings: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(9)
    return embeddings @ rng.normal(size=(SIZE, CLASSES + 1))


KNOWN = np.array([True] * CLASSES + [False])


def test_the_evidence_is_what_it_says() -> None:
    embeddings, labels, background = drawn(2)
    neighbours = Neighbours.fit(embeddings, labels, background, classes=CLASSES, space=plain_space(SIZE))
    logits = logits_of(embeddings)
    found = dict(zip(EVIDENCE, evidence_of(logits, embeddings, KNOWN, neighbours).T, strict=True))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    best = chances[:, :CLASSES].max(axis=1)
    assert found["odds"] == pytest.approx(np.clip(np.log(best / (1 - best)), -30, 30), abs=1e-5)
    mass = np.log(chances[:, :CLASSES].sum(axis=1) / chances[:, CLASSES])
    assert found["mass"] == pytest.approx(np.clip(mass, -30, 30), abs=1e-5)
    close = neighbours.closeness(embeddings, logits[:, :CLASSES].argmax(axis=1))
    assert found["own"].tolist() == close.own.tolist()
    no_background = evidence_of(logits[:, :CLASSES], embeddings, KNOWN[:CLASSES], neighbours)
    assert not no_background[:, EVIDENCE.index("mass")].any()


def test_weights_are_those_of_a_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    evidence = rng.normal(size=(600, len(EVIDENCE))) * [1, 2, 0.1, 0.2, 3] + [0, 5, 0.5, 0, 1]
    right = rng.random(600) < 1 / (1 + np.exp(-(evidence[:, 0] + 8 * evidence[:, 2] - 4)))
    shares = rng.uniform(0.5, 2, 600)
    weights, bias = fit_weights(evidence, right, shares)
    plain = LogisticRegression(C=1e6, max_iter=2000).fit(evidence, right, sample_weight=shares)
    ours, theirs = evidence @ weights + bias, plain.decision_function(evidence)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.995


def test_weights_stay_finite_where_the_groups_are_apart_and_evidence_says_nothing() -> None:
    evidence = np.zeros((40, len(EVIDENCE)))
    evidence[:20, 2] = 1
    weights, bias = fit_weights(evidence, np.arange(40) < 20, np.ones(40))
    assert weights[2] > 0
    assert weights[0] == 0
    assert np.isfinite(bias)
    with pytest.raises(DataError, match="give both"):
        fit_weights(evidence, np.ones(40, dtype=bool), np.ones(40))


def test_a_combination_is_the_same_after_model_json() -> None:
    embeddings, labels, background = drawn(5)
    neighbours = Neighbours.fit(embeddings, labels, background, classes=CLASSES)
    assert neighbours.space.projection.shape[1] < SIZE + 1
    combination = Combination((1.0, 0.5, 3.0, -2.0, -1.0), 0.25, neighbours)
    again = Combination.from_dict(json.loads(json.dumps(combination.to_dict())))
    logits = logits_of(embeddings)
    np.testing.assert_array_equal(
        again.scores(logits, embeddings, KNOWN), combination.scores(logits, embeddings, KNOWN)
    )
    with pytest.raises(SettingsError, match="weights of the evidence"):
        Combination((1.0,), 0.0, neighbours)
