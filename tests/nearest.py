"""A small real search backend: the nearest of some images, by the cosine of their embeddings.

`python tests/nearest.py MODEL PICTURE...` serves it, on a free port that it prints.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.imaging.preprocessing import prepare
from landmarks.model.recognizer import Recognizer
from landmarks.serving.look_alikes import LookAlike


class Nearest:
    """An index of a few pictures.

    Args:
        model: Model folder.
        pictures: Content of the pictures by name.
    """

    def __init__(self, model: Path, pictures: Mapping[str, bytes]) -> None:
        recognizer = Recognizer(model)
        prepared = [prepare(content, recognizer.info.preprocessing) for content in pictures.values()]
        self._names = list(pictures)
        self._rows = _unit(recognizer.answer(np.stack(prepared)).embeddings)

    def search(self, embedding: NDArray[np.float32], limit: int) -> list[LookAlike]:
        similarities = self._rows @ _unit(embedding[None])[0]
        order = np.argsort(-similarities)[:limit]
        return [LookAlike(self._names[row], float(similarities[row])) for row in order]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    from landmarks.serving.server import run
    from landmarks.serving.settings import ServeSettings

    folder, *photos = map(Path, sys.argv[1:])
    index = Nearest(folder, {photo.name: photo.read_bytes() for photo in photos})
    told = lambda address: print(address, flush=True)  # noqa: E731
    run(ServeSettings(folder, workers=1), "127.0.0.1", 0, searcher=index, started=told)
