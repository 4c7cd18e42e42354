"""Vector helpers shared by scores, few-shot learning and search. Pure numpy."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)
Item = TypeVar("Item")

DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, BadZipFile, zlib.error)
"""What numpy raises on reading a damaged file, and what its reader raises where the content does not fit."""

_TINY = 1e-12
_FEW = 4


def inner_products(left: NDArray[Float], right: NDArray[Float]) -> NDArray[Float]:
    """Return the inner product of each row of (N, D) with each row of (M, D), (N, M).

    A few rows are left to this thread. The threads of numpy's linear algebra library stay awake for milliseconds
    after a product: for one photo after the other they took as much of the processor as everything else.
    """
    if len(left) <= _FEW:
        few: NDArray[Float] = np.einsum("nd,md->nm", left, right)
        return few
    many: NDArray[Float] = left @ right.T
    return many


def unit_length(rows: NDArray[np.floating[Any]], dtype: type[Float]) -> NDArray[Float]:
    """Return the rows of (N, D) scaled to unit length, as `dtype`; a zero row is unchanged."""
    values = np.asarray(rows, dtype=dtype)
    scaled: NDArray[Float] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), dtype(_TINY))
    return scaled


def half(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Round to half precision, as stored: what is chosen or compared are the numbers that are read back."""
    return values.astype(np.float16).astype(np.float32)


def packed(array: NDArray[Any]) -> str:
    """Return the bytes of an array as base64, for JSON."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpacked(text: str, kind: str) -> NDArray[Any]:
    """Return the flat array of `packed`, of a kind of numbers; raises `TypeError` or `ValueError` if damaged."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind).copy()


def within_class(
    values: NDArray[np.float64], labels: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each class that occurs, (K, D), and the within-class covariance, (D, D).

    Args:
        values: (N, D).
        labels: (N,), the classes.
    """
    _, places = np.unique(labels, return_inverse=True)
    # One pass in the order of the classes: a mask for each would take time by images times classes.
    counts = np.bincount(places)
    sums = np.add.reduceat(values[np.argsort(places, kind="stable")], np.cumsum(counts) - counts, axis=0)
    means = sums / counts[:, None]
    around = values - means[places]
    covariance: NDArray[np.float64] = around.T @ around / len(values)
    return means, covariance


def rows_by_class(labels: NDArray[np.integer[Any]], classes: int, most: int) -> list[NDArray[np.intp]]:
    """Return up to `most` rows of each of `classes` classes, evenly spaced over those of its (N,) labels."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=classes))
    return [spread(order[start:end], most) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def spread(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return up to `most` of some indices, evenly spaced."""
    count = min(len(places), most)
    return places[np.linspace(0, len(places) - 1, count).round().astype(np.intp)] if count else places


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return up to `most` of some items, evenly spaced in their order."""
    return [items[place] for place in spread(np.arange(len(items)), most)]
