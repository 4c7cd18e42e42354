"""THE way from photos to tags: opened once, decoded, cropped, recognised, tagged. All that tags goes through here.

`Model` is also the public API (see `landmarks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.imaging.decoding import DEFAULT_LIMITS, ImageLimits, Source
from landmarks.imaging.photos import find_photos
from landmarks.metadata.reading import embedded_position, read_position
from landmarks.model.folder import DEFAULT_MODEL, find_model
from landmarks.model.recognizer import Prepared, Recognition, Recognizer
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, gazetteer_of, make_tagger
from landmarks.tagging.tags import ImageTags
from landmarks.tagging.workers import BATCH, Job, run_parallel

Position = tuple[float, float]
"""Latitude and longitude in decimal degrees."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A photo that was opened for tagging.

    Attributes:
        photo: For the network.
        position: Where the camera stood, or None when unknown.
    """

    photo: Prepared
    position: Position | None


class Model:
    """A model folder, loaded, with its places and what it was taught; one may be used from several threads.

    Public are `name`, `classes`, `tag`, `predict` and `embed`; the rest serves the package and may change.

    Args:
        folder: Made by `landmarks.export`, or one that comes with the package (see `landmarks.load_model`).
        settings: What is asked of it.
        threads: Threads of the network. One is best where several processes share the cores.

    Attributes:
        settings: As given.
        recognizer: The network.
        gazetteer: The places.

    Raises:
        ModelError: The folder is damaged.
        PlacesError: A table of places is broken.
        ModuleNotFoundError: OpenVINO is asked for and not installed.
    """

    def __init__(self, folder: Path, settings: TagSettings | None = None, *, threads: int = 1) -> None:
        self.settings = settings or TagSettings()
        self.recognizer = Recognizer(folder, engine=self.settings.engine, threads=threads)
        self.gazetteer = gazetteer_of(folder, self.settings)
        self._tagger = make_tagger(self.recognizer, self.gazetteer, self.settings)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.recognizer.info.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes it was trained on."""
        return self.recognizer.info.classes

    def tag(
        self, photos: Source | Iterable[Source], *, positions: Iterable[Position | None] | None = None
    ) -> Iterator[ImageTags]:
        """Tag photos, in order; one that is unreadable has `error` set and stops nothing.

        Args:
            photos: Paths, contents of files, RGB arrays (height, width, 3) uint8, or Pillow images; or only one.
            positions: Where the camera stood for each photo, latitude and longitude; None for what the photo or
                its sidecar says. Arrays and Pillow images say nothing.

        Example:
            >>> for photo in landmarks.load_model().tag(["photo.jpg"]):
            ...     print(photo.path, photo.error or [tag.name for tag in photo.tags])
        """
        for finding in self.find(_listed(photos), positions=positions):
            yield finding.photo

    def predict(self, photos: Source | Iterable[Source], *, top: int = 5) -> Iterator[Recognition]:
        """Recognise photos, in order: classes and probabilities, without thresholds and positions.

        Args:
            photos: As in `tag`.
            top: How many candidates a photo gets.

        Example:
            >>> for answer in landmarks.load_model().predict(["photo.jpg"], top=1):
            ...     print(answer.candidates)
        """
        wanted = self._tagger.needs_embeddings
        for recognition in self.recognizer.recognize(_listed(photos), top=top, embeddings=wanted):
            yield self._tagger.with_learned(recognition, top)

    def embed(self, photos: Source | Iterable[Source]) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of photos; those of one landmark point in nearly one direction.

        Raises:
            ImageError: A photo is unreadable.

        Example:
            >>> landmarks.load_model().embed(["photo.jpg"]).shape
            (1, 1280)
        """
        rows = []
        source = iter(_listed(photos))
        while batch := [self.recognizer.prepare(photo) for photo in islice(source, BATCH)]:
            for photo in batch:
                if photo.error is not None:
                    raise photo.error
            pictures = [photo.picture for photo in batch if photo.picture is not None]
            rows.append(self.recognizer.answer(np.stack(pictures)).embeddings)
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def find(
        self,
        photos: Iterable[Source],
        *,
        positions: Iterable[Position | None] | None = None,
        embeddings: bool = False,
        digests: bool = False,
    ) -> Iterator[Finding]:
        """Tag photos, in order, and tell why; see `tag`.

        Args:
            photos: As in `tag`.
            positions: As in `tag`.
            embeddings: Whether findings carry the embedding.
            digests: Whether `photo.sha256` is filled in.
        """
        given = zip(photos, repeat(None) if positions is None else positions, strict=positions is not None)
        while batch := [self.open(photo, position) for photo, position in islice(given, BATCH)]:
            for finding, opened in zip(self.answer(batch, embeddings=embeddings), batch, strict=True):
                digest = opened.photo.sha256 if digests else None
                yield replace(finding, photo=replace(finding.photo, sha256=digest)) if digests else finding

    def open(
        self, photo: Source, position: Position | None = None, *, limits: ImageLimits = DEFAULT_LIMITS
    ) -> Opened:
        """Open a photo once for all that tagging needs; one that is unreadable carries its error.

        Args:
            photo: As in `tag`.
            position: Where the camera stood; None for what the photo or its sidecar says.
            limits: Largest file and picture to accept.
        """
        prepared = self.recognizer.prepare(photo, limits)
        if not self.settings.use_position or prepared.error is not None:
            return Opened(prepared, None)
        if position is None and isinstance(photo, bytes):
            position = embedded_position(photo)
        elif position is None and isinstance(photo, str | Path):
            position = read_position(prepared.path, prepared.content)
        return Opened(prepared, position)

    def answer(self, photos: Sequence[Opened], *, embeddings: bool = False) -> Iterator[Finding]:
        """Tag photos that `open` opened, all of them together."""
        wanted = embeddings or self._tagger.needs_embeddings
        answers = self.recognizer.recognize_prepared([each.photo for each in photos], top=1, embeddings=wanted)
        for recognition, opened in zip(answers, photos, strict=True):
            finding = self._tagger.tag(recognition, opened.position)
            yield replace(finding, embedding=recognition.embedding) if embeddings else finding


def _listed(photos: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(photos, str | Path | bytes | Image.Image):
        return [photos]
    if isinstance(photos, np.ndarray) and photos.ndim == 3:
        return [photos]
    return photos


def load_model(
    model: str | Path = DEFAULT_MODEL, settings: TagSettings | None = None, *, threads: int = 1
) -> Model:
    """Load a model.

    Args:
        model: Name of one that comes with the package, or a model folder.
        settings: What is asked of it.
        threads: Threads of the network.

    Raises:
        ModelError: There is no such model, or it is damaged.

    Example:
        >>> model = landmarks.load_model()
    """
    return Model(find_model(str(model)), settings, threads=threads)


def tag(
    paths: str | Path | Iterable[str | Path],
    model: str | Path = DEFAULT_MODEL,
    settings: TagSettings | None = None,
    *,
    processes: int | None = None,
    exclude: Iterable[str] = (),
) -> Iterator[ImageTags]:
    """Tag photos and folders of them in several processes, in order.

    Call it from a script under `if __name__ == "__main__":`, as Python asks for processes.

    Args:
        paths: Photos and folders.
        model: Name of a model that comes with the package, or a model folder.
        settings: What is asked of it.
        processes: How many, or None for one per core.
        exclude: Glob patterns of what is left out (see `landmarks.files.walker.WalkRules`).

    Raises:
        InputError: A path does not exist.
        ModelError: There is no such model, or it is damaged.

    Example:
        >>> for photo in landmarks.tag("holiday", processes=2):
        ...     print(photo.path, [tag.name for tag in photo.tags])
    """
    listed = [paths] if isinstance(paths, str | Path) else paths
    photos = find_photos(map(Path, listed), exclude=exclude)
    findings = find_tags_parallel(find_model(str(model)), settings or TagSettings(), photos, processes=processes)
    return (finding.photo for finding in findings)


def find_tags_parallel(
    folder: Path,
    settings: TagSettings,
    photos: Iterable[Path],
    *,
    processes: int | None = None,
    digests: bool = False,
) -> Iterator[Finding]:
    """Tag photos in several processes, in order, and tell why (see `landmarks.tagging.workers.run_parallel`).

    Args:
        folder: Model folder.
        settings: What is asked.
        photos: Files; they are asked for as they are needed.
        processes: How many, or None for one per core.
        digests: Whether `photo.sha256` is filled in.

    Raises:
        ModelError: The folder is damaged, or the processes die before they have given any answer.
        PlacesError: A table of places is broken.
    """
    return run_parallel(partial(_start, folder, settings, digests), photos, _failed, processes=processes)


def _start(folder: Path, settings: TagSettings, digests: bool) -> Job[Finding]:
    model = Model(folder, settings)

    def job(photos: Sequence[Path]) -> list[Finding]:
        return list(model.find(photos, digests=digests))

    return job


def _failed(photo: Path, reason: str) -> Finding:
    return Finding(ImageTags(photo, (), (), "", reason), None)
