"""Which photos look alike: neighbours of a photo, and groups of unknown photos that may show one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from landmarks.fewshot.reference import Reference
from landmarks.model.embedding_space import Vectors, plain_space

ALIKE = 0.999
"""Two photos are alike if their cosine is above that of this fraction of pairs that show different things.

With the bundled model it is 0.85: groups of 12 unknown monuments among 200 ordinary photos are pure then.
"""

FEWEST = 3
"""Fewest photos of a group."""

MOST = 6000
"""Most unknown photos that are grouped; more would take seconds."""

_PLAIN = 0.9  # cosine of alike photos without a reference
_HIGHEST = 0.95  # and the highest with one
_BLOCK = 500
_PAIRS = 2000  # photos of the reference that are compared with each other


@dataclass(frozen=True)
class Alike:
    """A group of photos, most typical first, and the mean cosine to the first."""

    photos: tuple[int, ...]
    similarity: float


class Likeness:
    """The vectors of photos; safe to use from several threads.

    Args:
        reference: Reads the reference of the model, or None; called when it is needed first.
    """

    def __init__(self, reference: Callable[[], Reference | None]) -> None:
        self._lock = threading.Lock()
        self._read = reference
        self._rows: dict[int, NDArray[np.float16]] = {}
        self._table: tuple[NDArray[np.int64], NDArray[np.float16]] | None = None

    @cached_property
    def _reference(self) -> Reference | None:
        return self._read()

    @cached_property
    def _alike(self) -> float:
        return _PLAIN if self._reference is None else _threshold(self._reference.negatives)

    def vectors(self, embeddings: Vectors) -> NDArray[np.float16]:
        """Return the vectors of embeddings (N, D), as they are stored."""
        reference = self._reference
        space = plain_space(embeddings.shape[1]) if reference is None else reference.space
        return space.vectors(embeddings).astype(np.float16)

    def put(self, vectors: Mapping[int, NDArray[np.float16]]) -> None:
        """Set the vectors of photos."""
        with self._lock:
            self._rows.update(vectors)
            self._table = None

    def of(self, photos: Sequence[int]) -> tuple[list[int], Vectors]:
        """Return those of the photos that have a vector, and their vectors."""
        with self._lock:
            known = [photo for photo in photos if photo in self._rows]
            rows = [self._rows[photo] for photo in known]
        return known, np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), dtype=np.float32)

    def similar(self, photo: int, limit: int, among: Collection[int] | None = None) -> list[tuple[int, float]]:
        """Return the photos most similar to one, most similar first, each with the cosine.

        Args:
            photo: The photo.
            limit: Most photos to return.
            among: Photos to choose from; None for all.
        """
        known, own = self.of([photo])
        if not known:
            return []
        numbers, table = self._all()
        cosines = np.concatenate(
            [table[at : at + _BLOCK].astype(np.float32) @ own[0] for at in range(0, len(table), _BLOCK)]
        )
        found: list[tuple[int, float]] = []
        for place in np.argsort(-cosines, kind="stable").tolist():
            other = int(numbers[place])
            if other != photo and (among is None or other in among):
                found.append((other, min(1.0, float(cosines[place]))))
            if len(found) == limit:
                break
        return found

    def groups(self, photos: Sequence[int]) -> list[Alike]:
        """Return groups of photos that look alike, largest first; each photo is in one at most.

        The photo with most others alike begins a group of all of these, again and again.
        """
        known, vectors = self.of(photos[:MOST])
        if len(known) < FEWEST:
            return []
        alike = [
            row.nonzero()[0]
            for at in range(0, len(known), _BLOCK)
            for row in vectors[at : at + _BLOCK] @ vectors.T >= self._alike
        ]
        free = np.ones(len(known), dtype=np.bool_)
        counts = np.array([len(row) for row in alike])
        found: list[Alike] = []
        while counts.max() >= FEWEST:
            centre = int(counts.argmax())
            members = alike[centre][free[alike[centre]]]
            if len(members) < counts[centre]:
                counts[centre] = len(members)  # others are in a group by now
                continue
            cosines = vectors[members] @ vectors[centre]
            order = members[np.argsort(-cosines, kind="stable")]
            found.append(Alike(tuple(known[place] for place in order.tolist()), min(1.0, float(cosines.mean()))))
            free[members] = False
            counts[members] = 0
        return sorted(found, key=lambda group: -len(group.photos))

    def _all(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        with self._lock:
            if self._table is None:
                self._table = np.array(list(self._rows), dtype=np.int64), np.stack(list(self._rows.values()))
            return self._table


def _threshold(negatives: Vectors) -> float:
    """Return the cosine above which photos are alike, from photos that all show different things."""
    some = negatives[:_PAIRS]
    cosines = (some @ some.T)[np.triu_indices(len(some), 1)]
    return min(_HIGHEST, float(np.quantile(cosines, ALIKE))) if len(cosines) else _PLAIN
