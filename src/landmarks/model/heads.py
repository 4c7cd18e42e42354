"""Prototype heads: class scores from the embedding, for networks without logits.

A prototype head has one or more unit vectors per name, in int8 with one scale per vector. One integer matrix
product in ONNX Runtime compares an embedding with all of them, and a name scores the best of its own.

```
NAME/
  head.onnx        the product: uint8 digits of the embeddings (N, D) in, int32 products (N, R) out
  prototypes.bin   int8 (D, R), which ONNX Runtime maps into memory
  prototypes.npz   scales (R,) float32, and starts (K,) int64: the first row of each name
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.model.engines import open_session
from landmarks.model.folder import HEAD_FILE, SCALES_FILE

LARGEST_DIGIT = 63
"""Digits of an embedding are in -63..63. CPUs without VNNI add pairs of products in 16 bits, which 7 bits times 8
cannot overflow: 2 * 127 * 127 < 2 ** 15."""

_MIDDLE = LARGEST_DIGIT + 1


@dataclass(frozen=True, eq=False)
class PrototypeHead:
    """A loaded head, safe to use from several threads.

    Attributes:
        scales: (R,), scale of each prototype.
        starts: (K,), first row of each name, ascending.
        product: Multiplies digits (N, D) with the prototypes.
    """

    scales: NDArray[np.float32]
    starts: NDArray[np.int64]
    product: Callable[[NDArray[np.uint8]], NDArray[np.int32]]

    def cosines(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine of each embedding to the nearest prototype of each name.

        Args:
            embeddings: (N, D), unit vectors.

        Returns:
            (N, K), each in -1..1.
        """
        scored = np.empty((len(embeddings), len(self.starts)), dtype=np.float32)
        for row, embedding in enumerate(embeddings):
            # One image at a time, so that a batch takes no more memory than one.
            np.maximum.reduceat(self._rows(embedding), self.starts, out=scored[row])
        return scored

    def _rows(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compare one embedding with every prototype, (R,)."""
        digits, worth = split_digits(embedding)
        coarse, fine = self.product((digits + _MIDDLE).astype(np.uint8))
        found: NDArray[np.float32] = coarse * worth[0]
        found += fine * worth[1]
        found *= self.scales
        return found


def split_digits(embedding: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write a vector as two integer digits: `digits.T @ worth` is the vector to one part in eight thousand.

    Returns:
        Digits (2, D) from -63 to 63, and the value of each digit, (2,).
    """
    largest = np.float32(max(float(np.abs(embedding).max()), float(np.finfo(np.float32).tiny)))
    coarse_unit = largest / np.float32(LARGEST_DIGIT)
    fine_unit = coarse_unit / np.float32(2 * LARGEST_DIGIT)
    coarse = np.rint(embedding / coarse_unit)
    fine = np.rint((embedding - coarse * coarse_unit) / fine_unit)
    return np.stack([coarse, fine]), np.array([coarse_unit, fine_unit], dtype=np.float32)


def quantize(prototypes: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round prototypes (R, D) to int8 with a scale per row, (R,)."""
    largest = np.abs(prototypes).max(axis=1)
    scales = (np.maximum(largest, np.finfo(np.float32).tiny) / 127).astype(np.float32)
    return np.rint(prototypes / scales[:, None]).astype(np.int8), scales


def load_head(folder: Path, *, classes: int, threads: int = 1) -> PrototypeHead:
    """Load the head of a model folder, whose files the caller has checked.

    Args:
        folder: Folder with the files of `landmarks.model.folder.HEAD_FILES`.
        classes: Required number of names.
        threads: Threads per product.

    Raises:
        ModelError: A file is damaged, or the head has a different number of names.
    """
    try:
        with np.load(folder / SCALES_FILE, allow_pickle=False) as stored:
            scales, starts = stored["scales"], stored["starts"]
        session = open_session(folder / HEAD_FILE, threads)
    except Exception as error:
        raise ModelError(f"{folder}: the prototypes cannot be loaded ({error}): add the model again") from error
    rising = len(starts) > 0 and starts[0] == 0 and bool((np.diff(starts) > 0).all()) and starts[-1] < len(scales)
    if len(starts) != classes or not rising or session.get_outputs()[0].shape[-1] != len(scales):
        raise ModelError(f"{folder}: the prototypes do not fit the names: add the model again")

    def product(digits: NDArray[np.uint8]) -> NDArray[np.int32]:
        found: NDArray[np.int32] = session.run(["products"], {"digits": digits})[0]
        return found

    return PrototypeHead(scales, starts, product)
