"""Questions to an index: the photos most like a picture, those with a tag, and groups of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import SettingsError
from landmarks.search.embedder import Embedder
from landmarks.search.groups import Groups
from landmarks.search.index import check_model, decode, root_of
from landmarks.search.table import Hit, PhotoTable

ALPHA = 3.0
"""How much more near neighbours count in an expansion than far ones."""

_PAGE = 256  # queries in one call
_NEIGHBOURS = 24  # of each photo, when near-duplicates are looked for

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """A photo that was found.

    Attributes:
        path: The photo.
        score: Cosine of the two photos in the space of the index, -1 to 1.
        tags: Names it is found by, in lower case.
        inliers: Local features that it shares with the picture, or None where they were not compared (see
            `landmarks.search.rerank`).
    """

    path: Path
    score: float
    tags: tuple[str, ...]
    inliers: int | None = None


class PhotoSearcher:
    """An open index with the model that asks it.

    One searcher serves any number of threads: each question reads the newest state of the table.

    Args:
        place: Where the index lies.
        model: Folder of the model it was built with.

    Attributes:
        root: The folder whose photos it holds.

    Raises:
        SearchError: There is no index, it is damaged, or was built with another model.
        ModelError: The model folder is damaged.
    """

    def __init__(self, place: str, model: Path) -> None:
        self._table = PhotoTable(place)
        self._embedder = Embedder(model)
        check_model(self._table, self._embedder)
        self.root = root_of(self._table)

    def __len__(self) -> int:
        """How many photos the index holds."""
        return len(self._table)

    def similar(
        self, picture: Path | bytes, count: int = 10, *, tag: str | None = None, expansion: int = 0
    ) -> list[Match]:
        """Find the photos most like a picture, which may be one of them.

        Args:
            picture: A file, or the content of one.
            count: How many, at least 1.
            tag: Only photos with this tag, or all.
            expansion: Neighbours that the query is expanded by first; 0 for none.

        Raises:
            ImageError: The picture cannot be read.
        """
        vectors = self._embedder.vector(picture)[None]
        return self._nearest(vectors, count, tag=tag, expansion=expansion)[0]

    def of_embedding(self, embedding: NDArray[np.float32], count: int = 10) -> list[Match]:
        """Find the photos nearest to an embedding (D,) that the model gave."""
        return self._nearest(self._embedder.space.vectors(embedding[None]), count)[0]

    def tagged(self, tag: str, count: int = 10) -> list[Match]:
        """Return photos that have a tag, in the order of their paths."""
        _check(count)
        return sorted(map(self._match, self._table.tagged(tag, count)), key=lambda match: match.path)

    def near_duplicates(self, alike: float) -> list[list[Path]]:
        """Group photos that are nearly the same picture.

        Photos whose score reaches `alike` are in one group, and so are photos that a chain of such pairs joins.

        Args:
            alike: Cosine that a pair needs, above 0 and at most 1.

        Returns:
            Groups of two or more, the largest first, each in the order of its paths.
        """
        if not 0 < alike <= 1:
            raise SettingsError(f"`alike` must be above 0 and at most 1, not {alike}")
        groups = Groups[str]()
        table = self._table.snapshot()  # an update meanwhile must not move photos from page to page
        for names, vectors in table.pages():
            for start in range(0, len(names), _PAGE):
                found = table.nearest(vectors[start : start + _PAGE], _NEIGHBOURS)
                for name, hits in zip(names[start : start + _PAGE], found, strict=True):
                    for hit in hits:
                        # Rounding leaves a photo a hair short of being the same as itself.
                        if hit.photo != name and hit.score >= alike - 1e-5:
                            groups.join(name, hit.photo)
        found_groups = [sorted(self.root / decode(name) for name in group) for group in groups.all()]
        return sorted(found_groups, key=lambda group: (-len(group), group))

    def _nearest(
        self, vectors: Vectors, count: int, *, tag: str | None = None, expansion: int = 0
    ) -> list[list[Match]]:
        _check(count)
        if expansion < 0:
            raise SettingsError(f"`expansion` must be 0 or more, not {expansion}")
        if expansion:
            near = self._table.nearest(vectors, expansion, tag=tag, vectors=True)
            vectors = np.stack([_expanded(*pair) for pair in zip(vectors, near, strict=True)])
        return [list(map(self._match, hits)) for hits in self._table.nearest(vectors, count, tag=tag)]

    def _match(self, hit: Hit) -> Match:
        return Match(self.root / decode(hit.photo), hit.score, hit.tags)


def expand(query: Vectors, neighbours: Vectors, scores: NDArray[np.floating], alpha: float = ALPHA) -> Vectors:
    """Return a query (d,) moved towards its neighbours (m, d), each weighted by its score to the power `alpha`.

    Alpha query expansion of Radenovic, Tolias and Chum, TPAMI 2018, https://arxiv.org/abs/1711.02512; with an
    alpha of 0 it is the average query expansion of Chum, Philbin, Sivic, Isard and Zisserman, ICCV 2007.
    """
    weights = np.maximum(scores, 0).astype(np.float32) ** np.float32(alpha)
    moved = query + weights @ neighbours
    expanded: Vectors = moved / max(float(np.linalg.norm(moved)), 1e-12)
    return expanded


def _expanded(query: Vectors, hits: Sequence[Hit]) -> Vectors:
    near = [(hit.score, hit.vector) for hit in hits if hit.vector is not None]
    if not near:
        return query
    return expand(query, np.stack([vector for _, vector in near]), np.array([score for score, _ in near]))


def _check(count: int) -> None:
    if count < 1:
        raise SettingsError(f"`count` must be at least 1, not {count}")
