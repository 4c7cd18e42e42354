"""Tags for many photos: in this process, or in one process a core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from landmarks.geo.gazetteer import Gazetteer
from landmarks.metadata.reading import read_position
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.tagger import Finding, Tagger, TagSettings, gazetteer_of, make_tagger
from landmarks.tagging.tags import ImageTags
from landmarks.tagging.workers import BATCH, Job, run_parallel


def tag_photos(
    recognizer: Recognizer, gazetteer: Gazetteer, settings: TagSettings, photos: Iterable[Path]
) -> Iterator[ImageTags]:
    """Tag photos in this process, in order; one that cannot be read gets its reason and stops nothing."""
    for finding in _stream(recognizer, make_tagger(recognizer, gazetteer, settings), photos):
        yield finding.photo


def find_tags_parallel(
    folder: Path, settings: TagSettings, photos: Iterable[Path], *, processes: int | None = None
) -> Iterator[Finding]:
    """Tag photos in several processes, in order, and say why (see `landmarks.tagging.workers.run_parallel`).

    Args:
        folder: Model folder.
        settings: What is asked.
        photos: Files; they are asked for as they are needed.
        processes: How many, or None for one a core.

    Raises:
        ModelError: The folder is damaged, or the processes die before they have given any answer.
        PlacesError: A table of places is broken.
    """
    return run_parallel(partial(_start, folder, settings), photos, _failed, processes=processes)


def _stream(recognizer: Recognizer, tagger: Tagger, photos: Iterable[Path]) -> Iterator[Finding]:
    answers = recognizer.recognize(photos, top=1, batch_size=BATCH, embeddings=tagger.needs_embeddings)
    for recognition in answers:
        wanted = tagger.settings.use_position and recognition.error is None
        yield tagger.tag(recognition, read_position(recognition.path) if wanted else None)


def _start(folder: Path, settings: TagSettings) -> Job[Finding]:
    recognizer = Recognizer(folder, engine=settings.engine)
    tagger = make_tagger(recognizer, gazetteer_of(folder, settings), settings)

    def job(photos: Sequence[Path]) -> list[Finding]:
        return list(_stream(recognizer, tagger, photos))

    return job


def _failed(photo: Path, reason: str) -> Finding:
    return Finding(ImageTags(photo, (), (), "", reason), None)
