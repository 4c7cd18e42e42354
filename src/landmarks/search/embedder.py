"""Embeds photos with the recogniser that also tags them: one forward pass for both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from landmarks.fewshot.reference import read_reference
from landmarks.model.embedding_space import EmbeddingSpace, Vectors, plain_space
from landmarks.model.folder import teachable_identity
from landmarks.tagging.pipeline import Model
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import identity_of
from landmarks.tagging.tags import Tag
from landmarks.tagging.workers import Job, run_parallel


@dataclass(frozen=True)
class EmbeddedPhoto:
    """A photo as stored in the index.

    Attributes:
        path: The photo, as given.
        tags: Searchable names, in lower case: of its tags, their cities, countries and kinds.
        vector: (d,), a unit vector; None if the photo is unreadable.
        error: Why the photo is unreadable, or None.
        tagged_by: Identity of the model that tagged it.
    """

    path: Path
    tags: tuple[str, ...] = ()
    vector: Vectors | None = None
    error: str | None = None
    tagged_by: str = ""


class Embedder:
    """A model with the space of its vectors.

    Args:
        folder: Model folder.
        settings: How to tag; the defaults if None.

    Attributes:
        space: Maps embeddings to vectors: whitened if the model has a reference, else plain.
        identity: Identity of the model and the space; vectors of two identities cannot be compared.
        dimensions: Dimensions of the vectors.
        tagged_by: Identity of the model with all that its tags depend on, such as what it was taught.

    Raises:
        ModelError: The folder is damaged.
    """

    def __init__(self, folder: Path, settings: TagSettings | None = None) -> None:
        self._model = Model(folder, replace(settings or TagSettings(), top=1), threads=1)
        recognizer = self._model.recognizer
        info = recognizer.info
        reference = read_reference(folder, info)
        crop = info.preprocessing.crop
        self.space: EmbeddingSpace
        if reference is not None:
            self.space = reference.space
        else:
            grey = np.zeros((1, crop, crop, 3), dtype=np.uint8)
            self.space = plain_space(recognizer.answer(grey).embeddings.shape[1])
        self.identity = teachable_identity(info)
        self.dimensions = self.space.projection.shape[1]
        self.tagged_by = identity_of(folder, info, self._model.settings)

    def vector(self, source: Path | bytes) -> Vectors:
        """Return the vector (d,) of a photo, given as a file or its content.

        Raises:
            ImageError: It cannot be read.
        """
        found: Vectors = self.space.vectors(self._model.embed([source]))[0]
        return found

    def photos(self, photos: Iterable[Path]) -> Iterator[EmbeddedPhoto]:
        """Embed and tag photos in this process, in order; an unreadable one does not stop the others."""
        for finding in self._model.find(photos, embeddings=True):
            photo = finding.photo
            if finding.embedding is None:
                yield EmbeddedPhoto(photo.path, error=photo.error)
            else:
                vector = self.space.vectors(finding.embedding[None])[0]
                yield EmbeddedPhoto(photo.path, names_of(photo.tags), vector, tagged_by=photo.model)


def names_of(tags: Iterable[Tag]) -> tuple[str, ...]:
    """Return the searchable names of tags, in lower case, each once."""
    names: dict[str, None] = {}
    for tag in tags:
        place = tag.place
        of_place = (place.city, place.country, place.kind) if place is not None else ()
        # A tag that combines several places has the place of only one of them, so only its own name counts.
        for name in (tag.name, *(of_place if tag.level == "landmark" else ())):
            if name:
                names[name.casefold()] = None
    return tuple(names)


def embed_photos(
    folder: Path, settings: TagSettings, photos: Iterable[Path], *, workers: int | None = None
) -> Iterator[EmbeddedPhoto]:
    """Embed and tag photos in several processes, in order (see `landmarks.tagging.workers.run_parallel`).

    Args:
        folder: Model folder.
        settings: How to tag.
        photos: Files; consumed lazily.
        workers: Number of processes, or None for one per core.
    """
    return run_parallel(partial(_start, folder, settings), photos, _failed, workers=workers)


def _start(folder: Path, settings: TagSettings) -> Job[EmbeddedPhoto]:
    embedder = Embedder(folder, settings)

    def job(photos: Sequence[Path]) -> list[EmbeddedPhoto]:
        return list(embedder.photos(photos))

    return job


def _failed(photo: Path, reason: str) -> EmbeddedPhoto:
    return EmbeddedPhoto(photo, error=reason)
