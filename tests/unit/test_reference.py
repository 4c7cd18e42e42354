"""The whitened space of a model's embeddings, and the vectors stored for comparison."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import add_reference, make_model

from landmarks.errors import DataError, ModelError
from landmarks.fewshot.reference import Reference, make_reference, read_reference
from landmarks.model.embedding_space import plain_space, whitened_space
from landmarks.model.folder import read_info
from landmarks.model.neighbours import PHOTOS_PER_CLASS
from landmarks.model.vectors import unit_length

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


def draw(classes: int = 6, each: int = 30, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ in a few directions, and vary much more in others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    scale = np.where(np.arange(16) < 8, 0.3, 0.02 * noise)
    centres = np.zeros((classes, 16))
    centres[:, 8:] = 0.1 * rng.normal(size=(classes, 8))
    return 1 + centres[labels] + scale * rng.normal(size=(len(labels), 16)), labels


def nearest_is_right(vectors: np.ndarray, labels: np.ndarray) -> float:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    return float((labels[similar.argmax(axis=1)] == labels).mean())


def test_whitening_brings_photos_of_a_landmark_together() -> None:
    embeddings, labels = draw()
    whitened = whitened_space(embeddings, labels, 12).vectors(embeddings)
    assert whitened.shape == (180, 12)
    assert nearest_is_right(whitened, labels) > nearest_is_right(unit_length(embeddings, np.float32), labels) + 0.3


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 100))
def test_the_length_of_an_embedding_does_not_count(factor: float) -> None:
    embeddings, labels = draw(classes=3, each=8)
    space = whitened_space(embeddings, labels, 4)
    np.testing.assert_allclose(space.vectors(factor * embeddings), space.vectors(embeddings), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(space.vectors(embeddings), axis=1), 1, atol=1e-5)


def test_the_plain_space_only_scales() -> None:
    embeddings, _ = draw()
    np.testing.assert_allclose(plain_space(16).vectors(embeddings), unit_length(embeddings, np.float32), atol=1e-6)


def test_one_photo_teaches_no_whitening() -> None:
    with pytest.raises(DataError, match="too few"):
        whitened_space(np.ones((1, 4)), np.zeros(1, dtype=int))


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    embeddings, labels = draw()
    reference = make_reference(embeddings, labels, embeddings[:5], dimensions=8)
    assert np.bincount(reference.labels).tolist() == [PHOTOS_PER_CLASS] * 6
    reference.save(tmp_path / "reference.npz")
    again = Reference.load(tmp_path / "reference.npz")
    np.testing.assert_array_equal(again.vectors, reference.vectors)
    np.testing.assert_array_equal(again.negatives, reference.negatives)
    np.testing.assert_array_equal(again.space.vectors(embeddings), reference.space.vectors(embeddings))


def test_a_reference_of_other_classes_is_told(tmp_path: Path) -> None:
    folder = add_reference(make_model(tmp_path / "colours"))
    info = read_info(folder)
    with pytest.raises(ModelError, match=r"reference\.npz: its labels do not fit the classes"):
        read_reference(folder, replace(info, classes=info.classes[:2]))


def said_to_be_encrypted() -> bytes:
    file = io.BytesIO()
    np.savez(file, mean=np.zeros(4))
    content = bytearray(file.getvalue())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # a single bit, in the directory of the archive
    return bytes(content)


@pytest.mark.parametrize("content", [b"", b"PK rubbish", b"x" * 1000, said_to_be_encrypted()])
def test_a_damaged_reference_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "reference.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        Reference.load(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6), st.integers(5, 9))
def test_mean_average_precision_agrees_with_a_slow_reference(rows: list[list[bool]], total: int) -> None:
    from retrieval import mean_average_precision

    slow = 0.0
    for row in rows:
        precisions = [sum(row[: rank + 1]) / (rank + 1) for rank in range(5) if row[rank]]
        slow += sum(precisions) / min(total, 5) / len(rows)
    assert mean_average_precision(np.array(rows), np.full(len(rows), total)) == pytest.approx(slow)
