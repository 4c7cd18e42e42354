"""The protocol of a search backend; `create_app` accepts any implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LookAlike:
    """A photo in the index that looks like the query.

    Attributes:
        name: Its name in the index; shown as it is, never opened.
        similarity: Cosine of the two embeddings, -1 to 1.
        class_name: The class of the model that it was tagged with, or None.
        picture: A small JPEG of it, for people to look at; None if the backend shows none.
    """

    name: str
    similarity: float
    class_name: str | None = None
    picture: bytes | None = None


class Searcher(Protocol):
    """An index of embeddings of the served model."""

    def search(self, embedding: NDArray[np.float32], limit: int) -> Sequence[LookAlike]:
        """Return the nearest photos, nearest first; called in a thread, so it may block.

        Args:
            embedding: (D,), of the query.
            limit: Maximum number of results.

        Raises:
            SearchError: The index cannot be read just now.
        """
