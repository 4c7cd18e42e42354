"""Finds groups of near-duplicates.

An image is described by 64 bits: whether each of 8 x 8 cells is darker than the cell to its right (difference
hash, N. Krawetz, "Kind of Like That", 2013). Re-encoding, resizing and brightness change few of the bits, a small
crop about five. Two images are near-duplicates if their hashes differ in few bits and their embeddings are
similar, because skies and lawns alone can make hashes similar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.search.groups import Groups

MAX_BITS = 11
"""Maximum number of the 64 bits in which the hashes of near-duplicates may differ."""

_BLOCK_BITS, _BLOCKS = 16, 4
_CHUNK = 2**21  # pairs compared at once, which keeps memory below 100 MB


def difference_hash(picture: NDArray[np.uint8]) -> int:
    """Return the 64-bit difference hash of an image (H, W, 3)."""
    grey = Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    values = np.asarray(grey, dtype=np.int16)
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def similar_hashes(hashes: NDArray[np.uint64], max_bits: int = MAX_BITS) -> NDArray[np.int64]:
    """Find all pairs of hashes that differ in at most `max_bits` bits.

    Multi-index hashing (Norouzi, Punjani, Fleet 2012, https://arxiv.org/abs/1307.2982): two hashes that differ in
    r bits differ in at most r/4 bits of one of their four blocks of 16, so only images that share such a block
    are compared. For evenly distributed hashes and the default, N images take 548 look-ups each and N**2 / 120
    cheap comparisons in total: a few seconds for 100,000 images. Memory is O(N), plus the pairs found.

    Args:
        hashes: (N,) hashes.
        max_bits: From 0 to 64.

    Returns:
        (P, 2) positions, the smaller one first, without repeats, sorted.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for block in range(_BLOCKS):
        keys = ((hashes >> np.uint64(block * _BLOCK_BITS)) & np.uint64(2**_BLOCK_BITS - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        # Start of the hashes with each value of the block in `order`.
        begins = np.searchsorted(keys[order], np.arange(2**_BLOCK_BITS + 1))
        for mask in _masks(max_bits // _BLOCKS):
            for first, second in _candidates(keys ^ mask, order, begins):
                ahead = first < second
                first, second = first[ahead], second[ahead]  # noqa: PLW2901 - narrowed step by step
                near = np.bitwise_count(hashes[first] ^ hashes[second]) <= max_bits
                found.append(np.stack([first[near], second[near]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def group_duplicates(hashes: NDArray[np.uint64], embeddings: NDArray[np.float32]) -> list[list[int]]:
    """Return the groups of near-duplicates, each of two or more positions in ascending order.

    Args:
        hashes: (N,) difference hashes.
        embeddings: (N, D) of unit length.
    """
    pairs = similar_hashes(hashes)
    bits = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    cosines = np.concatenate(
        [np.empty(0)]
        + [
            np.einsum("nd,nd->n", embeddings[part[:, 0]], embeddings[part[:, 1]])
            for part in np.array_split(pairs, len(pairs) // 4096 + 1)
        ]
    )
    return connected(pairs[cosines >= needed_cosine(bits)])


def needed_cosine(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the cosine of the embeddings required for hashes that differ in this many bits."""
    return np.interp(bits, [0, MAX_BITS], [0.70, 0.92])


def connected(pairs: NDArray[np.int64]) -> list[list[int]]:
    """Merge pairs into groups.

    Args:
        pairs: (P, 2) positions that belong together.

    Returns:
        Groups of two or more, each sorted, in the order of their first members.
    """
    groups = Groups[int]()
    for first, second in pairs.tolist():
        groups.join(first, second)
    return sorted(sorted(group) for group in groups.all() if len(group) > 1)


def _masks(most: int) -> Iterator[int]:
    """Yield every block value of at most `most` bits."""
    for bits in range(min(most, _BLOCK_BITS) + 1):
        for places in combinations(range(_BLOCK_BITS), bits):
            yield sum(1 << place for place in places)


def _candidates(
    wanted: NDArray[np.int64], order: NDArray[np.int64], begins: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (position, position of each hash whose block is the wanted one), in chunks of bounded size."""
    starts, counts = begins[wanted], begins[wanted + 1] - begins[wanted]
    for part in _chunks(counts):
        repeats = counts[part]
        first = np.repeat(np.arange(len(wanted))[part], repeats)
        offsets = np.arange(len(first)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        yield first, order[np.repeat(starts[part], repeats) + offsets]


def _chunks(counts: NDArray[np.int64]) -> Sequence[slice]:
    totals = np.cumsum(counts)
    cuts = np.searchsorted(totals, np.arange(_CHUNK, totals[-1] if len(totals) else 0, _CHUNK))
    edges = [0, *sorted({int(cut) + 1 for cut in cuts} - {len(counts)}), len(counts)]
    return [slice(low, high) for low, high in pairwise(edges)]
