"""A search backend that uses an index made by `landmarks index`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ImageError
from landmarks.imaging.thumbnails import as_jpeg, load_small
from landmarks.model.folder import read_info
from landmarks.search.index import place_of
from landmarks.search.searcher import PhotoSearcher
from landmarks.serving.look_alikes import LookAlike
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import gazetteer_of

_SIDE = 160  # pixels: enough to recognise a place by, too few to be of use as a photo
_QUALITY = 75


class PhotoIndex:
    """Finds look-alikes in an index.

    Args:
        place: Folder or URL of the index, or the folder that was indexed, or one below it.
        model: Folder of the served model; the index must have been built with it.
        pictures: Also return a small JPEG of each photo.

    Raises:
        SearchError: There is no index, it is damaged, or was built with another model.
    """

    def __init__(self, place: str, model: Path, *, pictures: bool = False) -> None:
        self._photos = PhotoSearcher(place_of(place), model)
        self._pictures = pictures
        show = gazetteer_of(model, TagSettings()).display_name
        # An index stores display names; several classes of one place have one name.
        self._classes = {show(name).casefold(): name for name in reversed(read_info(model).classes)}

    def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
        """Return the nearest photos, named by their path relative to the indexed folder; see `Searcher`."""
        root = self._photos.root
        return [
            LookAlike(
                _text(match.path.relative_to(root)),
                match.score,
                next((self._classes[tag] for tag in match.tags if tag in self._classes), None),
                _small(match.path) if self._pictures else None,
            )
            for match in self._photos.of_embedding(embedding, limit)
        ]


def _text(path: Path) -> str:
    """Return a path as text that JSON can carry: bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _small(photo: Path) -> bytes | None:
    """Return a small JPEG of a photo without its metadata; None if it is gone or unreadable."""
    try:
        return as_jpeg(load_small(photo, _SIDE), _QUALITY)
    except ImageError:
        return None
