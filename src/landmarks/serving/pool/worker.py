"""A worker process: images in, answers out, one at a time, with a single-threaded network.

It is started as `python -m landmarks.serving.pool.worker`, reads frames from standard input and writes frames to
standard output (see `landmarks.serving.pool.protocol`), and exits when its input ends, which also happens when the
service is killed. An image that crashes this process affects no other.
"""

from __future__ import annotations

import base64
import io
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from landmarks.errors import ImageError, ImageFormatError, ImageTooLargeError, LandmarksError, ModelError
from landmarks.imaging.decoding import ImageLimits, photo_header, upright_size
from landmarks.imaging.thumbnails import as_jpeg, data_uri, load_small
from landmarks.serving.pool import protocol as frames
from landmarks.tagging.pipeline import Model
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import identity_of
from landmarks.tagging.writers import candidate_object, reasons, tag_object

_PREVIEW = 480  # pixels of the longest side: about 25 kB
_PREVIEW_QUALITY = 80
_CODES = {ImageTooLargeError: "too_large", ImageFormatError: "unsupported_format"}


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker, sent to it first.

    Attributes:
        model: Model folder.
        tags: How to tag.
        limits: Limits per image.
        version: Expected identity of the model, as the folder may have changed; empty for any.
    """

    model: Path
    tags: TagSettings
    limits: ImageLimits
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the values as sent over the pipe."""
        own = self.tags.own_places
        tags = {**asdict(self.tags), "own_places": None if own is None else str(own)}
        return {"model": str(self.model), "tags": tags, "limits": asdict(self.limits), "version": self.version}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WorkerSettings:
        """Create settings from the values of `to_dict`."""
        return cls(
            Path(values["model"]),
            TagSettings(**values["tags"]),
            ImageLimits(**values["limits"]),
            values["version"],
        )


class Answerer:
    """Tags images.

    Args:
        settings: Settings of the worker.

    Raises:
        ModelError: The model folder is damaged.
        PlacesError: A table of places is broken.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._limits = settings.limits
        self._model = Model(settings.model, settings.tags)
        version = identity_of(settings.model, self._model.recognizer.info, settings.tags)
        if settings.version not in ("", version):
            raise ModelError(
                f"{settings.model}: the folder now has another version of the model: it is reloaded soon"
            )
        side = self._model.recognizer.info.preprocessing.crop
        # Warm up: the first answer is the slowest.
        self._model.recognizer.answer(np.zeros((1, side, side, 3), dtype=np.uint8))

    def answer(
        self, picture: bytes, also: Collection[frames.Also] = (), *, left: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Return the tags of an image, or `error` with its `code` and `message`.

        Args:
            picture: Content of a file.
            also: What to include besides: the `embedding` for search, as base64 of float32; the `size`, width and
                height of the upright image in pixels; a `preview`, a JPEG as a data URI.
            left: Returns whether nobody waits for the answer any more; asked once the image is decoded, and if so,
                the answer is `landmarks.serving.pool.protocol.LEFT`.
        """
        started = time.perf_counter()
        opened = self._model.open(picture, limits=self._limits)
        if left():
            return dict(frames.LEFT)
        if (error := opened.photo.error) is not None:
            return {"error": {"code": _CODES.get(type(error), "damaged_picture"), "message": error.reason}}
        decoded = time.perf_counter()
        (finding,) = self._model.answer([opened], embeddings="embedding" in also)
        gazetteer = self._model.gazetteer
        found: dict[str, Any] = {
            "tags": [tag_object(tag) for tag in finding.photo.tags],
            "candidates": [candidate_object(each, gazetteer) for each in finding.photo.candidates],
            "reasons": [],
            "known": False,
            "seconds": {"decode": decoded - started, "recognise": time.perf_counter() - decoded},
        }
        if finding.explanation is not None:
            # What was taught is usually unlike the photos that the network learned from.
            found["known"] = finding.explanation.known or finding.explanation.learned is not None
            found["reasons"] = list(reasons(finding.explanation, gazetteer))
        if finding.embedding is not None:
            vector = np.ascontiguousarray(finding.embedding, dtype="<f4")
            found["embedding"] = base64.b64encode(vector.tobytes()).decode("ascii")
        if "size" in also:
            found["size"] = size_of(picture)
        if "preview" in also:
            with suppress(ImageError):  # it decodes more of a long, narrow JPEG than the network needs
                small = load_small(picture, _PREVIEW, self._limits)
                found["preview"] = data_uri("jpeg", as_jpeg(small, _PREVIEW_QUALITY))
        return found


def size_of(picture: bytes) -> tuple[int, int]:
    """Return width and height of an image as displayed, or (0, 0) if its header does not have them."""
    with photo_header(picture) as image:
        return (0, 0) if image is None else upright_size(image)


def main() -> None:
    """Answer until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the service stops it by closing the pipe
    source = io.FileIO(sys.stdin.fileno(), closefd=False)
    threadpool_limits(1)  # numpy's threads would compete for the cores of the other workers
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not get between the frames

    def send(head: Mapping[str, Any]) -> None:
        sink.writelines(frames.pack(head))
        sink.flush()

    first = frames.read(source)
    if first is None:
        return
    try:
        answerer = Answerer(WorkerSettings.from_dict(first[0]))
    except LandmarksError as error:
        send({"fatal": str(error)})
        return
    send({"ready": True})

    def left() -> bool:
        # While an image is in progress, the service sends nothing but this, or closes the pipe.
        return bool(select.select([source], [], [], 0)[0]) and frames.read(source) is not None

    while (frame := frames.read(source)) is not None:
        head, picture = frame
        if head == frames.LEFT:
            continue  # it came after the answer
        send(answerer.answer(picture, head.get("also", ()), left=left))


if __name__ == "__main__":
    main()
