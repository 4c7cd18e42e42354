"""Confident learning: the joint against a slow reference, planted label errors found, copies kept in one fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from landmarks.training.doctor.folds import split_folds
from landmarks.training.doctor.labels import confident_joint, find_label_issues, out_of_fold_probabilities


def blobs(count: int = 40, classes: int = 4, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors around one direction a class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    points = np.eye(8)[labels] + rng.normal(0, 0.25, (len(labels), 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


def slow_joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The definition of Northcutt, Jiang and Chuang, picture by picture."""
    classes = probabilities.shape[1]
    thresholds = {}
    for k in range(classes):
        own = [row[k] for row, label in zip(probabilities, labels, strict=True) if label == k]
        if sum(own) > 0:  # else no fold has learnt the class
            thresholds[k] = sum(own) / len(own)
    joint = np.zeros((classes, classes), dtype=np.int64)
    for row, label in zip(probabilities, labels, strict=True):
        above = [k for k in thresholds if row[k] >= thresholds[k]]
        if above:
            joint[label, max(above, key=lambda k: row[k])] += 1
    return joint


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(3, 30), st.integers(0, 10**6))
def test_the_joint_is_that_of_its_definition(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Eighths have exact sums, so that a mean is the same in whichever order it is taken.
    probabilities = rng.integers(0, 9, (count, classes)) / 8
    labels = rng.integers(0, classes, count)
    thresholds = [probabilities[labels == k, k].mean() for k in range(classes) if (labels == k).any()]
    margins = np.abs(probabilities[:, :, None] - np.array(thresholds))
    if ((margins > 0) & (margins < 1e-9)).any():
        return
    assert np.array_equal(confident_joint(probabilities, labels), slow_joint(probabilities, labels))


def test_a_class_of_one_picture_is_taken_for_no_other() -> None:
    embeddings, labels = blobs()
    embeddings, labels = np.vstack([embeddings, embeddings[:1] + 9]), np.append(labels, 4)
    probabilities = out_of_fold_probabilities(embeddings, labels, [], classes=5, seed=0)
    assert probabilities is not None
    assert {issue.position for issue in find_label_issues(probabilities, labels)} <= {len(labels) - 1}


def test_planted_label_errors_are_found_with_their_class() -> None:
    embeddings, truth = blobs()
    labels = truth.copy()
    wrong = np.arange(3, len(labels), 20)
    labels[wrong] = (truth[wrong] + 1) % 4
    probabilities = out_of_fold_probabilities(embeddings, labels, [], classes=4, seed=0)
    assert probabilities is not None
    issues = find_label_issues(probabilities, labels)
    found = {issue.position for issue in issues}
    assert len(found & set(wrong)) >= 0.8 * len(wrong)
    assert len(found & set(wrong)) >= 0.8 * len(found)
    assert all(issue.suggested == truth[issue.position] for issue in issues if issue.position in wrong)
    assert [issue.score for issue in issues] == sorted((issue.score for issue in issues), reverse=True)


def test_a_copy_does_not_vouch_for_the_label_it_shares() -> None:
    _, labels = blobs()
    groups = [[0, 17, 41], [5, 99]]
    for known, _ in split_folds(labels, groups, seed=1):
        for group in groups:
            assert len(set(group) & set(known.tolist())) in {0, len(group)}


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [1, 1, 1, 1, 1, 0, 2]])
def test_tiny_classes_are_borne(labels: list[int]) -> None:
    embeddings = np.eye(8, dtype=np.float32)[: len(labels)]
    probabilities = out_of_fold_probabilities(embeddings, np.array(labels), [], classes=3, seed=0)
    if probabilities is not None:
        assert probabilities.sum(axis=1) == pytest.approx(1)


def test_every_picture_is_asked_once() -> None:
    _, labels = blobs(count=7)
    asked = np.concatenate([asked for _, asked in split_folds(labels, [[0, 1, 2]], seed=0)])
    assert sorted(asked) == list(range(len(labels)))
