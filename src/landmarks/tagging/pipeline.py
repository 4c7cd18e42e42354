"""THE pipeline from photos to tags: open once, decode, crop, recognise, tag. All tagging goes through here.

`Model` is also the public API (see `landmarks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat, zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import SettingsError, require_at_least
from landmarks.files.paths import to_path
from landmarks.files.walker import Skipped
from landmarks.imaging.decoding import ImageLimits, Photo, Source, list_sources
from landmarks.imaging.photos import find_photos, refuse_missing
from landmarks.metadata.reading import embedded_position, read_position
from landmarks.model.folder import DEFAULT_MODEL, find_models
from landmarks.model.recognizer import Prepared, Recognition, Recognizer, prepare_for
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.several import decide, identity_of_models, settings_beside
from landmarks.tagging.surroundings import checked_position
from landmarks.tagging.tagger import Finding, gazetteer_of, make_tagger, with_surroundings
from landmarks.tagging.tags import ImageTags
from landmarks.tagging.workers import BATCH, Job, run_parallel

Position = tuple[float, float]
"""Latitude and longitude in decimal degrees."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A photo opened for tagging.

    Attributes:
        photo: The input of the network.
        position: Position of the camera, or None when unknown.
        second: The input of a second network, if there is one.
    """

    photo: Prepared
    position: Position | None
    second: Prepared | None = None


class Model:
    """A loaded model folder, with its places and learned landmarks; safe to use from several threads.

    `name`, `classes`, `tag`, `predict` and `embed` are public; the rest is internal and may change.

    Args:
        folder: Model folder made by `landmarks.export`, or a bundled one (see `landmarks.load_model`).
        settings: How to tag; the defaults if None.
        threads: Threads of the network. One is best if several processes share the cores.

    Attributes:
        settings: How to tag.
        recognizer: The network.
        gazetteer: The places.

    Raises:
        ModelError: The folder is damaged.
        PlacesError: A table of places is broken.
        MissingExtraError: OpenVINO is requested and not installed.
    """

    def __init__(self, folder: Path, settings: TagSettings | None = None, *, threads: int = 1) -> None:
        self.settings = settings or TagSettings()
        self.recognizer = Recognizer(
            folder, engine=self.settings.engine, threads=threads, limits=self.settings.limits
        )
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
        self, photos: Photo | Iterable[Photo], *, positions: Iterable[Position | None] | None = None
    ) -> Iterator[ImageTags]:
        """Tag photos, in order; an unreadable one has `error` set and does not stop the others.

        Args:
            photos: One or more paths, file contents, RGB arrays (height, width, 3) uint8, or Pillow images. Four
                are read before the first is answered: call this for each picture of a camera.
            positions: Camera position for each photo, latitude and longitude in degrees; None to read it from the
                photo or its sidecar. Arrays and Pillow images have none.

        Raises:
            SettingsError: A position is out of range, or there are more or fewer than photos.

        Example:
            >>> for photo in landmarks.load_model().tag(["photo.jpg"]):
            ...     print(photo.path, photo.error or [tag.name for tag in photo.tags])
        """
        for finding in self.find(list_sources(photos), positions=positions):
            yield finding.photo

    def predict(self, photos: Photo | Iterable[Photo], *, top: int = 5) -> Iterator[Recognition]:
        """Recognise photos, in order: classes and probabilities, without thresholds and positions.

        Args:
            photos: As in `tag`.
            top: Candidates per photo, at least 1.

        Raises:
            SettingsError: `top` is below 1.

        Example:
            >>> for answer in landmarks.load_model().predict(["photo.jpg"], top=1):
            ...     print(answer.candidates)
        """
        require_at_least("top", top)
        wanted = self._tagger.needs_embeddings
        answers = self.recognizer.recognize(list_sources(photos), top=top, embeddings=wanted)
        return (self._tagger.with_learned(recognition, top) for recognition in answers)

    def embed(self, photos: Photo | Iterable[Photo]) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of photos; photos of one landmark have similar directions.

        Raises:
            ImageError: A photo is unreadable.

        Example:
            >>> landmarks.load_model().embed(["photo.jpg"]).shape
            (1, 1280)
        """
        rows = []
        source = iter(list_sources(photos))
        while batch := [self.recognizer.prepare(photo) for photo in islice(source, BATCH)]:
            for photo in batch:
                if photo.error is not None:
                    raise photo.error
            pictures = [photo.picture for photo in batch if photo.picture is not None]
            rows.append(self.recognizer.answer(np.stack(pictures)).embeddings)
        if not rows:  # the network tells D
            crop = self.recognizer.info.preprocessing.crop
            return self.recognizer.answer(np.zeros((1, crop, crop, 3), np.uint8)).embeddings[:0]
        return np.concatenate(rows)

    def find(
        self,
        photos: Iterable[Source],
        *,
        positions: Iterable[Position | None] | None = None,
        embeddings: bool = False,
        digests: bool = False,
    ) -> Iterator[Finding]:
        """Tag photos, in order, with explanations; see `tag`.

        Args:
            photos: As in `tag`.
            positions: As in `tag`.
            embeddings: Include the embedding.
            digests: Fill in `photo.sha256`.
        """
        given = zip(photos, repeat(None)) if positions is None else _placed(photos, positions)
        while batch := [self.open(photo, position) for photo, position in islice(given, BATCH)]:
            for finding, opened in zip(self.answer(batch, embeddings=embeddings), batch, strict=True):
                digest = opened.photo.sha256 if digests else None
                yield replace(finding, photo=replace(finding.photo, sha256=digest)) if digests else finding

    def open(
        self, photo: Source, position: Position | None = None, *, limits: ImageLimits | None = None
    ) -> Opened:
        """Open a photo once for everything that tagging needs; an unreadable one carries its error.

        Args:
            photo: As in `tag`.
            position: Position of the camera; None to read it from the photo or its sidecar.
            limits: Largest file and image to accept; those of the settings if None.
        """
        opened = self._prepare(photo, limits)
        prepared = opened.photo
        if not self.settings.use_position or prepared.error is not None:
            return opened
        if position is None and isinstance(photo, bytes):
            position = embedded_position(photo)
        elif position is None and isinstance(photo, str | Path):
            position = read_position(prepared.path, prepared.content)
        return replace(opened, position=position)

    def _prepare(self, photo: Source, limits: ImageLimits | None) -> Opened:
        return Opened(self.recognizer.prepare(photo, limits), None)

    def answer(self, photos: Sequence[Opened], *, embeddings: bool = False) -> Iterator[Finding]:
        """Tag photos opened with `open`, as one batch."""
        wanted = embeddings or self._tagger.needs_embeddings
        answers = self.recognizer.recognize_prepared([each.photo for each in photos], top=1, embeddings=wanted)
        for recognition, opened in zip(answers, photos, strict=True):
            finding = self._tagger.tag(recognition, opened.position)
            yield replace(finding, embedding=recognition.embedding) if embeddings else finding


class TwoModels(Model):
    """Two models that tag photos together, by the rule of `landmarks.tagging.several`; a photo is decoded once.

    Args:
        folders: The two model folders.
        settings: How to tag; the defaults if None.
        threads: Threads of each network.

    Raises:
        SettingsError: The settings are for one model.
    """

    def __init__(
        self, folders: tuple[Path, Path], settings: TagSettings | None = None, *, threads: int = 1
    ) -> None:
        asked = settings or TagSettings()
        # Tags of the camera's position are added once, to what both tag.
        first, second = (replace(settings_beside(folder, asked), places=False) for folder in folders)
        # Each tags by its own places: one name may mean a kind to one of them and a place to the other.
        super().__init__(folders[0], first, threads=threads)
        self._second = Model(folders[1], second, threads=threads)
        self.gazetteer = gazetteer_of(folders, asked)
        self._identity = identity_of_models(folders, asked)
        self.settings = asked
        names = super().name, self._second.name
        self._names = names if names[0] != names[1] else (str(folders[0]), str(folders[1]))

    @property
    def name(self) -> str:
        """Names of both models."""
        return ",".join(self._names)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of both models, each once."""
        return tuple(dict.fromkeys((*super().classes, *self._second.classes)))

    def predict(self, *_: Any, **__: Any) -> Iterator[Recognition]:
        """Refuse: probabilities of two models have no common scale.

        Raises:
            SettingsError: Always.
        """
        raise SettingsError(f"{self.name}: `predict` needs one model: load one of them")

    def embed(self, *_: Any, **__: Any) -> NDArray[np.float32]:
        """Refuse: embeddings of two models cannot be compared.

        Raises:
            SettingsError: Always.
        """
        raise SettingsError(f"{self.name}: `embed` needs one model: load one of them")

    def answer(self, photos: Sequence[Opened], *, embeddings: bool = False) -> Iterator[Finding]:
        """Tag photos opened with `open`, as one batch, without embeddings."""
        if embeddings:
            raise SettingsError(f"{self.name}: `embeddings` need one model: load one of them")
        seconds = [Opened(each.second, each.position) for each in photos if each.second is not None]
        answers = zip(super().answer(photos), self._second.answer(seconds), photos, strict=True)
        for first, second, opened in answers:
            finding = decide(
                (first, second), self._names, self.gazetteer, model=self._identity, top=self.settings.top
            )
            yield with_surroundings(finding, opened.position, self.gazetteer) if self.settings.places else finding

    def _prepare(self, photo: Source, limits: ImageLimits | None) -> Opened:
        preprocessings = [one.info.preprocessing for one in (self.recognizer, self._second.recognizer)]
        first, second = prepare_for(preprocessings, photo, limits or self.settings.limits)
        return Opened(first, None, second)


def open_model(folder: Path | Sequence[Path], settings: TagSettings | None = None, *, threads: int = 1) -> Model:
    """Open a model folder, or two as one model; see `Model` and `TwoModels`."""
    first, *others = [folder] if isinstance(folder, Path) else folder
    if others:
        return TwoModels((first, others[0]), settings, threads=threads)
    return Model(first, settings, threads=threads)


def _placed(
    photos: Iterable[Source], positions: Iterable[Position | None]
) -> Iterator[tuple[Source, Position | None]]:
    """Pair photos with their positions; raises `SettingsError` for one that is none, missing or left over."""
    missing: Any = object()
    for photo, position in zip_longest(photos, positions, fillvalue=missing):
        if photo is missing or position is missing:
            raise SettingsError("`positions` must be as many as the photos: give None for those without one")
        yield photo, None if position is None else checked_position(position)


def load_model(
    model: str | Path = DEFAULT_MODEL, settings: TagSettings | None = None, *, threads: int = 1
) -> Model:
    """Load a model.

    Args:
        model: Name of a bundled or added model, or a model folder; or two with a comma between them, which tag
            photos together (see docs/models.md).
        settings: How to tag; the defaults if None.
        threads: Threads of the network, at least 1.

    Raises:
        ModelError: There is no such model, or it is damaged.
        SettingsError: `threads` is below 1, more than two models are given, or the settings are for one model.

    Example:
        >>> model = landmarks.load_model()
    """
    return open_model(find_models(str(model)), settings, threads=threads)


def tag(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    model: str | Path = DEFAULT_MODEL,
    settings: TagSettings | None = None,
    *,
    workers: int | None = None,
    exclude: str | Iterable[str] = (),
    processes: int | None = None,
) -> Iterator[ImageTags]:
    """Tag photos and folders of photos in several processes, each photo once, in order.

    What is no photo is left out: match results by `path`. A folder that cannot be read comes last, with `error`
    set. In a script, call this under `if __name__ == "__main__":`, as Python's multiprocessing requires.

    Args:
        paths: Photos and folders.
        model: As of `load_model`.
        settings: How to tag; the defaults if None.
        workers: Number of processes, at least 1, or None for one per core.
        exclude: One or more glob patterns to skip (see `landmarks.files.walker.WalkRules`).
        processes: The former name of `workers`.

    Raises:
        InputError: A path does not exist.
        SettingsError: `workers` is below 1, or a path is empty.
        ModelError: There is no such model, or it is damaged.

    Example:
        >>> for photo in landmarks.tag("holiday", workers=2):
        ...     print(photo.path, [tag.name for tag in photo.tags])
    """
    workers = processes if workers is None else workers
    listed = [paths] if isinstance(paths, str | PathLike) else paths
    skipped: list[Skipped] = []
    photos = find_photos([to_path("paths", path) for path in listed], exclude=exclude, on_skip=skipped.append)
    for one in skipped:
        refuse_missing(one)
    unread = (_failed(one.path, one.message).photo for one in skipped if one.reason == "unreadable")
    findings = find_tags_parallel(find_models(str(model)), settings or TagSettings(), photos, workers=workers)
    return chain((finding.photo for finding in findings), unread)


def find_tags_parallel(
    folder: Path | Sequence[Path],
    settings: TagSettings,
    photos: Iterable[Path],
    *,
    workers: int | None = None,
    digests: bool = False,
) -> Iterator[Finding]:
    """Tag photos in several processes, in order, with explanations (see `landmarks.tagging.workers.run_parallel`).

    Args:
        folder: Model folder, or two that tag together.
        settings: How to tag.
        photos: Files; consumed lazily.
        workers: Number of processes, or None for one per core.
        digests: Fill in `photo.sha256`.

    Raises:
        ModelError: The folder is damaged, or the processes die before any answer.
        PlacesError: A table of places is broken.
    """
    return run_parallel(partial(_start, folder, settings, digests), photos, _failed, workers=workers)


def _start(folder: Path | Sequence[Path], settings: TagSettings, digests: bool) -> Job[Finding]:
    model = open_model(folder, settings)
    return lambda photos: list(model.find(photos, digests=digests))


def _failed(photo: Path, reason: str) -> Finding:
    return Finding(ImageTags(photo, (), (), "", reason), None)
