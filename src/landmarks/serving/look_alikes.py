"""What a search over pictures looks like to the service; `create_app` takes anything of this shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LookAlike:
    """A picture of an index that looks like the one that was asked about.

    Attributes:
        name: What the index calls it; shown as it is, never opened.
        similarity: Cosine of the two embeddings, -1 to 1.
        class_name: The class of the model that it was tagged with, or None.
    """

    name: str
    similarity: float
    class_name: str | None = None


class Searcher(Protocol):
    """An index of embeddings of the model that is served."""

    def search(self, embedding: NDArray[np.float32], limit: int) -> Sequence[LookAlike]:
        """Return the nearest pictures, nearest first; called in a thread, so it may take its time.

        Args:
            embedding: (D,) of the picture.
            limit: How many to give at most.
        """
