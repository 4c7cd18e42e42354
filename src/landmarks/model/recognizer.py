"""The recogniser, loaded from a model folder: photos in, probabilities and embeddings out.

A photo is a path, the content of a file, an array or a Pillow image. `Recognizer.prepare` opens it once and makes
the crop, `Recognizer.answer` runs the network, and `Recognizer.recognize_prepared` turns its output into
recognitions. All recognition goes through these three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.errors import ImageError
from landmarks.imaging.decoding import DEFAULT_LIMITS, ImageLimits, Source, load_image, read_content
from landmarks.imaging.preprocessing import Preprocessing, prepare_decoded
from landmarks.model import EngineName
from landmarks.model.calibration import calibration_of
from landmarks.model.engines import load_engine
from landmarks.model.folder import HEAD_FILES, ONNX_FILE, ModelInfo, check_file, read_info
from landmarks.model.heads import PrototypeHead, load_head
from landmarks.model.ood import is_landmark
from landmarks.model.probabilities import highest, softmax


@dataclass(frozen=True)
class NetworkOutput:
    """Output of a recogniser for a batch.

    Attributes:
        probabilities: (N, K) float32; each row sums to 1.
        embeddings: (N, D) float32, for search and OOD scores.
        logits: (N, K) float32.
        scores: (N,), OOD scores; None if the model is not calibrated for unknown photos.
    """

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    logits: NDArray[np.float32]
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Candidate:
    """A class and its probability."""

    class_name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo prepared for the network.

    Attributes:
        path: The photo; `<bytes>`, `<array>` or `<image>` for one from memory.
        picture: (crop, crop, 3) uint8; None if the photo is unreadable.
        error: Why the photo is unreadable, or None.
        content: Content of the file; None for pixels, and if it is unreadable.
    """

    path: Path
    picture: NDArray[np.uint8] | None
    error: ImageError | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def sha256(self) -> bytes | None:
        """SHA-256 of the content, or None if there is none."""
        return None if self.content is None else hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class Recognition:
    """Result of a recogniser for one photo.

    Attributes:
        path: The photo; `<bytes>`, `<array>` or `<image>` for one from memory.
        candidates: The most likely classes except the background, most likely first; empty if the photo is
            unreadable.
        error: Why the photo is unreadable, or None.
        probabilities: (K,), of all classes; None if the photo is unreadable.
        score: OOD score; None if the model is not calibrated for unknown photos.
        embedding: (D,), for search and learned landmarks; None if it was not requested, or the photo is
            unreadable.
    """

    path: Path
    candidates: tuple[Candidate, ...]
    error: str | None = None
    probabilities: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    score: float | None = None
    embedding: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


class Recognizer:
    """A loaded model folder.

    Args:
        folder: Model folder made by `landmarks export`.
        engine: Inference engine (see `landmarks.model.engines`).
        threads: Threads per inference. One is best if several processes share the cores.
        limits: Largest file and image to accept.

    Attributes:
        folder: The model folder.
        limits: Largest file and image to accept.
        info: The content of `model.json`.
        calibration: Calibration for unknown photos; None if the model has none.

    Raises:
        ModelError: The folder is damaged, or does not match `model.json`.
        MissingExtraError: OpenVINO is requested and not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: EngineName = "onnxruntime",
        threads: int = 1,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.info: ModelInfo = read_info(folder)
        self.calibration = calibration_of(folder, self.info)
        self._known = is_landmark(self.info.classes)
        self._engine = load_engine(
            check_file(folder, self.info, ONNX_FILE),
            name=engine,
            threads=threads,
            crop=self.info.preprocessing.crop,
            classes=len(self.info.classes) if self.info.head == "linear" else None,
        )
        self._head = None if self.info.head == "linear" else _head(folder, self.info, threads)

    def prepare(self, photo: Source, limits: ImageLimits | None = None) -> Prepared:
        """Decode a photo and crop the input of the network; an unreadable one carries its error.

        A file is opened once: its content is in `Prepared.content` for any further use.

        Args:
            photo: A path, the content of a file, an array (height, width, 3) or a Pillow image.
            limits: Largest file and image to accept; those of the recogniser if None.
        """
        return prepare_for([self.info.preprocessing], photo, limits or self.limits)[0]

    def answer(self, pictures: NDArray[np.uint8]) -> NetworkOutput:
        """Recognise prepared images.

        Args:
            pictures: (N, crop, crop, 3) uint8, from `landmarks.imaging.preprocessing.prepare`.

        Returns:
            Probabilities and embeddings, in the order of the images.
        """
        logits, embeddings = self._engine.run(pictures)
        if self._head is not None:
            logits = self._head.cosines(embeddings)
        probabilities = softmax(logits, self.info.temperature).astype(np.float32)
        scores = None if self.calibration is None else self.calibration.scores(logits, embeddings, self._known)
        return NetworkOutput(probabilities, embeddings, logits, scores)

    def recognize(
        self, photos: Iterable[Source], *, top: int = 5, batch_size: int = 4, embeddings: bool = False
    ) -> Iterator[Recognition]:
        """Recognise photos, in order; an unreadable one has `error` set and does not stop the others.

        Args:
            photos: Paths, file contents, arrays or Pillow images.
            top: Candidates per photo.
            batch_size: Photos per batch of the network.
            embeddings: Include the embedding.
        """
        source = iter(photos)
        while batch := [self.prepare(photo) for photo in islice(source, batch_size)]:
            yield from self.recognize_prepared(batch, top=top, embeddings=embeddings)

    def recognize_prepared(
        self, photos: Sequence[Prepared], *, top: int = 5, embeddings: bool = False
    ) -> Iterator[Recognition]:
        """Recognise photos opened with `prepare`, as one batch; see `recognize`."""
        pictures = [photo.picture for photo in photos if photo.picture is not None]
        answers = self.answer(np.stack(pictures)) if pictures else None
        row = 0
        for photo in photos:
            if photo.picture is None or answers is None:
                yield Recognition(photo.path, (), None if photo.error is None else photo.error.reason)
                continue
            probabilities = answers.probabilities[row]
            score = None if answers.scores is None else float(answers.scores[row])
            embedding = answers.embeddings[row] if embeddings else None
            yield Recognition(
                photo.path, self._candidates(probabilities, top), None, probabilities, score, embedding
            )
            row += 1

    def _candidates(self, probabilities: NDArray[np.float32], top: int) -> tuple[Candidate, ...]:
        best = highest(probabilities, top, allowed=self._known)
        return tuple(Candidate(self.info.classes[i], float(probabilities[i])) for i in best)


def prepare_for(
    preprocessings: Sequence[Preprocessing], photo: Source, limits: ImageLimits
) -> tuple[Prepared, ...]:
    """Open and decode a photo once, and crop the input of each network; see `Recognizer.prepare`.

    Args:
        preprocessings: Those of the networks. A JPEG is decoded at the size that the largest needs.
        photo: A path, the content of a file, an array (height, width, 3) or a Pillow image.
        limits: Largest file and image to accept.
    """
    path, content = _path_of(photo), None
    try:
        if isinstance(photo, str | Path | bytes):
            content = photo if isinstance(photo, bytes) else read_content(path, limits)
        size = max(each.resize for each in preprocessings)
        image = load_image(photo if content is None else content, min_side=size, limits=limits)
        pictures = {each: prepare_decoded(image, each) for each in preprocessings}
    except ImageError as error:
        # The decoder does not know the name that the content came from.
        named = type(error)(path if isinstance(photo, str | Path) else None, error.reason)
        unreadable = Prepared(path, None, named.with_traceback(error.__traceback__), content)
        return (unreadable,) * len(preprocessings)
    return tuple(Prepared(path, pictures[each], None, content) for each in preprocessings)


def _path_of(photo: Source) -> Path:
    if isinstance(photo, str | Path):
        return Path(photo)
    known = {np.ndarray: "array", Image.Image: "image"}
    kind = next((name for kind, name in known.items() if isinstance(photo, kind)), type(photo).__name__)
    return Path(f"<{kind}>")


def _head(folder: Path, info: ModelInfo, threads: int) -> PrototypeHead:
    for name in HEAD_FILES:
        check_file(folder, info, name)
    return load_head(folder, classes=len(info.classes), threads=threads)
