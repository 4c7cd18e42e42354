"""Queries an index: the most similar photos, photos with a tag, and groups of near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import SettingsError, require_at_least
from landmarks.model.embedding_space import Vectors
from landmarks.search.embedder import Embedder
from landmarks.search.groups import Groups
from landmarks.search.index import check_model, decode, root_of, stamp_of
from landmarks.search.table import Hit, PhotoTable
from landmarks.tagging.settings import TagSettings

ALPHA = 3.0
"""Exponent that weights near neighbours more than far ones in query expansion."""

_PAGE = 256  # queries per call
_NEIGHBOURS = 24  # per photo, in the search for near-duplicates


@dataclass(frozen=True)
class Match:
    """A search result.

    Attributes:
        path: The photo.
        score: Cosine of the two photos in the space of the index, -1 to 1.
        tags: Its searchable names, in lower case.
        inliers: Number of local features shared with the query, or None if not compared (see
            `landmarks.search.rerank`).
    """

    path: Path
    score: float
    tags: tuple[str, ...]
    inliers: int | None = None


class PhotoSearcher:
    """An open index with its model.

    One searcher serves any number of threads: each query reads the newest state of the table.

    Args:
        place: Folder or URL of the index.
        model: Folder of the model it was built with.
        settings: How to read photos; the defaults if None.

    Attributes:
        root: The indexed folder.

    Raises:
        SearchError: There is no index, it is damaged, or was built with another model.
        ModelError: The model folder is damaged.
    """

    def __init__(self, place: str, model: Path, settings: TagSettings | None = None) -> None:
        self._table = PhotoTable(place)
        self._embedder = Embedder(model, settings)
        check_model(self._table, self._embedder)
        self.root = root_of(self._table)

    def __len__(self) -> int:
        """Number of photos in the index."""
        return len(self._table)

    def outdated(self) -> int:
        """Return how many photos were tagged before the model was taught, or got other places or settings."""
        return self._table.outdated(self._embedder.tagged_by)

    def similar(
        self, picture: Path | bytes, count: int = 10, *, tag: str | None = None, expansion: int = 0
    ) -> list[Match]:
        """Find the photos most similar to a photo, which may be one of them.

        Args:
            picture: The query photo, a file or its content.
            count: Number of results, at least 1.
            tag: Only photos with this tag; None for all.
            expansion: Number of neighbours for query expansion; 0 for none.

        Raises:
            ImageError: The query photo cannot be read.
        """
        vectors = self._embedder.vector(picture)[None]
        return self._nearest(vectors, count, tag=tag, expansion=expansion)[0]

    def of_embedding(self, embedding: NDArray[np.float32], count: int = 10) -> list[Match]:
        """Find the photos nearest to an embedding (D,) of the model."""
        return self._nearest(self._embedder.space.vectors(embedding[None]), count)[0]

    def tagged(self, tag: str, count: int = 10) -> list[Match]:
        """Return photos with a tag, ordered by path."""
        _check(count)
        return sorted(map(self._match, self._table.tagged(tag, count)), key=lambda match: match.path)

    def near_duplicates(
        self, alike: float, *, on_outdated: Callable[[Path], None] | None = None
    ) -> list[list[Path]]:
        """Group nearly identical photos.

        Photos whose score reaches `alike` are in one group, and so are photos connected by a chain of such pairs.

        Args:
            alike: Minimum cosine of a pair, above 0 and at most 1.
            on_outdated: Called with each photo that is left out because it is gone or has changed since.

        Returns:
            Groups of two or more, largest first, each ordered by path.
        """
        if not 0 < alike <= 1:
            raise SettingsError(f"`alike` must be above 0 and at most 1, not {alike}")
        table = self._table.snapshot()  # a concurrent update must not move photos between pages
        known = table.known("")

        def current(name: str) -> bool:
            # Where the folder is out of reach, the index is all that is known of it.
            same = stamp_of(self.root / decode(name)) == known[name][:2] or not self.root.is_dir()
            if not same and on_outdated is not None:
                on_outdated(self.root / decode(name))
            return same

        found = (filter(current, group) for group in alike_groups(table, alike))
        found_groups = [sorted(self.root / decode(name) for name in group) for group in found]
        return sorted((group for group in found_groups if len(group) > 1), key=lambda group: (-len(group), group))

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


def alike_groups(table: PhotoTable, alike: float) -> list[list[str]]:
    """Return the photos of a table in groups connected by chains of pairs whose score reaches `alike`."""
    least = alike - 1e-5  # rounding leaves the cosine of a photo with itself slightly below 1
    groups, cut = Groups[str](), dict[str, Vectors]()
    for names, vectors in table.pages():
        for start in range(0, len(names), _PAGE):
            page = slice(start, start + _PAGE)
            found = table.nearest(vectors[page], _NEIGHBOURS)
            for name, vector, hits in zip(names[page], vectors[page], found, strict=True):
                near = [hit.photo for hit in hits if hit.score >= least]
                for other in near:
                    groups.join(name, other)
                if len(near) == _NEIGHBOURS:  # more may be as near
                    cut[name] = vector
    _join_large(groups, cut, least)
    return [group for group in groups.all() if len(group) > 1]


def _join_large(groups: Groups[str], photos: dict[str, Vectors], least: float) -> None:
    """Join groups whose photos have so many near-duplicates that no nearest ones show those of another group."""
    numbers = {name: number for number, group in enumerate(groups.all()) for name in group}
    names, own = list(photos), np.array([numbers[name] for name in photos])
    if len(set(own.tolist())) < 2:
        return
    one_of = dict(zip(own.tolist(), names, strict=True))
    vectors = np.stack(list(photos.values()))
    for start in range(0, len(names), _PAGE):
        page = slice(start, start + _PAGE)
        for name, near in zip(names[page], vectors[page] @ vectors.T >= least, strict=True):
            for number in np.unique(own[near]).tolist():
                groups.join(name, one_of[number])


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
    require_at_least("count", count)
