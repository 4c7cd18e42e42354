"""Near-duplicates: the fast search equals a slow, obvious one, and copies are distinguished from look-alikes."""

from __future__ import annotations

import io
import random
from itertools import combinations

import numpy as np
import pytest
from drawn import draw_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from landmarks.training.doctor.duplicates import (
    MAX_BITS,
    connected,
    difference_hash,
    group_duplicates,
    similar_hashes,
)


def slow_groups(count: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Merge sets until nothing changes."""
    groups = [{place} for place in range(count)]
    changed = True
    while changed:
        changed = False
        for first, second in pairs:
            a = next(group for group in groups if first in group)
            b = next(group for group in groups if second in group)
            if a is not b:
                a |= b
                groups.remove(b)
                changed = True
    return sorted(sorted(group) for group in groups if len(group) > 1)


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2))))
)
def test_groups_are_those_of_merging_sets(drawn_pairs: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = drawn_pairs
    found = connected(np.array(pairs, dtype=np.int64).reshape(-1, 2))
    assert sorted(found) == slow_groups(count, pairs)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 63), max_size=14)), max_size=8),
    st.sampled_from([0, 3, 7, MAX_BITS]),
)
def test_similar_hashes_are_those_of_all_pairs(
    bases: list[int], changes: list[tuple[int, set[int]]], most: int
) -> None:
    near = [bases[base % len(bases)] ^ sum(1 << bit for bit in bits) for base, bits in changes]
    hashes = [*bases, *near]
    slow = [[i, j] for i, j in combinations(range(len(hashes)), 2) if (hashes[i] ^ hashes[j]).bit_count() <= most]
    assert similar_hashes(np.array(hashes, dtype=np.uint64), most).tolist() == slow


def test_many_hashes_are_searched_in_chunks() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    hashes[:200] &= np.uint64(2**64 - 2**40)  # crowded blocks
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    slow = np.argwhere(np.triu(bits <= MAX_BITS, 1))
    assert similar_hashes(hashes).tolist() == slow.tolist()


def altered(image: Image.Image, how: str) -> Image.Image:
    width, height = image.size
    if how == "smaller":
        return image.resize((width * 2 // 3, height * 2 // 3))
    if how == "darker":
        return ImageEnhance.Brightness(image).enhance(0.75)
    if how == "cropped":
        return image.crop((width // 40, height // 40, width - width // 30, height - height // 30))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content).convert("RGB")


@pytest.mark.parametrize("how", ["smaller", "darker", "cropped", "re-encoded"])
def test_a_copy_has_nearly_the_hash_of_its_original(how: str) -> None:
    image = draw_scene("Pyramid", random.Random(3))
    copy = altered(image, how)
    assert (difference_hash(np.asarray(image)) ^ difference_hash(np.asarray(copy))).bit_count() <= MAX_BITS


def test_equal_hashes_of_different_pictures_are_no_group() -> None:
    hashes = np.array([5, 5, 5], dtype=np.uint64)
    embeddings = np.array([[1, 0], [0.99, np.sqrt(1 - 0.99**2)], [0, 1]], dtype=np.float32)
    assert group_duplicates(hashes, embeddings) == [[0, 1]]


def test_no_pictures_no_groups() -> None:
    assert group_duplicates(np.empty(0, dtype=np.uint64), np.empty((0, 4), dtype=np.float32)) == []
