"""An index made by `landmarks index`, as the service asks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.model.folder import read_info
from landmarks.search.searcher import PhotoSearcher
from landmarks.serving.look_alikes import LookAlike
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import gazetteer_of


class PhotoIndex:
    """Look-alikes out of the photos of an index.

    Args:
        place: Where the index lies.
        model: Folder of the model that is served; the index must have been built with it.

    Raises:
        SearchError: There is no index, it is damaged, or was built with another model.
    """

    def __init__(self, place: str, model: Path) -> None:
        self._photos = PhotoSearcher(place, model)
        show = gazetteer_of(model, TagSettings()).display_name
        # An index knows photos by the names that are shown; several classes of one place have one name.
        self._classes = {show(name).casefold(): name for name in reversed(read_info(model).classes)}

    def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
        """Return the nearest photos, named by their path below the indexed folder; see `Searcher`."""
        root = self._photos.root
        return [
            LookAlike(
                str(match.path.relative_to(root)),
                match.score,
                next((self._classes[tag] for tag in match.tags if tag in self._classes), None),
            )
            for match in self._photos.of_embedding(embedding, limit)
        ]
