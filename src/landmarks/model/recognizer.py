"""A model folder becomes a recogniser: pictures in, probabilities and embeddings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ImageError, ModelError
from landmarks.imaging.preprocessing import prepare
from landmarks.model.calibration import Calibration
from landmarks.model.engines import EngineName, load_engine
from landmarks.model.folder import INFO_FILE, ONNX_FILE, ModelInfo, check_file, read_info
from landmarks.model.ood import is_landmark, ood_scores
from landmarks.model.probabilities import softmax


@dataclass(frozen=True)
class Predictions:
    """What a recogniser says of a batch.

    Attributes:
        probabilities: (N, K) float32; each row sums to 1.
        embeddings: (N, D) float32, for search and for telling the unknown.
        logits: (N, K) float32.
        scores: (N,) how well each picture is known; None where the model was not calibrated for it.
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


@dataclass(frozen=True)
class Recognition:
    """What a recogniser says of one photo.

    Attributes:
        path: The photo.
        candidates: The likeliest classes but for the background, likeliest first; empty where the photo cannot
            be read.
        error: Why the photo cannot be read, or None.
        probabilities: (K,) of all classes; None where the photo cannot be read.
        score: How well the photo is known; None where the model was not calibrated for it.
        embedding: (D,), for search and learnt landmarks; None where it was not asked for, or the photo cannot be
            read.
    """

    path: Path
    candidates: tuple[Candidate, ...]
    error: str | None = None
    probabilities: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    score: float | None = None
    embedding: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


class Recognizer:
    """A model folder, loaded.

    Args:
        folder: Made by `landmarks export`.
        engine: What runs the network (see `landmarks.model.engines`).
        threads: Threads of one answer. One is best where several processes share the cores.

    Attributes:
        folder: Where the model lies.
        info: What `model.json` says.
        calibration: What it says of the unknown; None where the model was not calibrated for it.

    Raises:
        ModelError: The folder is damaged, or does not hold what `model.json` says.
        ModuleNotFoundError: OpenVINO is asked for and not installed.
    """

    def __init__(self, folder: Path, *, engine: EngineName = "onnxruntime", threads: int = 1) -> None:
        self.folder = folder
        self.info: ModelInfo = read_info(folder)
        self.calibration = _calibration(folder, self.info)
        self._known = is_landmark(self.info.classes)
        self._temperature = self.info.temperature if self.calibration is None else self.calibration.temperature
        self._engine = load_engine(
            check_file(folder, self.info, ONNX_FILE),
            name=engine,
            threads=threads,
            crop=self.info.preprocessing.crop,
            classes=len(self.info.classes),
        )

    def answer(self, pictures: NDArray[np.uint8]) -> Predictions:
        """Recognise prepared pictures.

        Args:
            pictures: (N, crop, crop, 3) uint8, from `landmarks.imaging.preprocessing.prepare`.

        Returns:
            Calibrated probabilities and embeddings, in the order of the pictures.
        """
        logits, embeddings = self._engine.run(pictures)
        probabilities = softmax(logits, self._temperature).astype(np.float32)
        return Predictions(probabilities, embeddings, logits, self._scores(logits, embeddings))

    def _scores(self, logits: NDArray[np.float32], embeddings: NDArray[np.float32]) -> NDArray[np.float64] | None:
        calibration = self.calibration
        if calibration is None:
            return None
        return ood_scores(
            calibration.score,
            logits,
            embeddings,
            known=self._known,
            temperature=calibration.temperature,
            statistics=calibration.statistics,
        )

    def recognize(
        self, photos: Iterable[Path], *, top: int = 5, batch_size: int = 4, embeddings: bool = False
    ) -> Iterator[Recognition]:
        """Recognise photos, in order; one that cannot be read gives its reason and stops nothing.

        Args:
            photos: Files.
            top: How many candidates a photo gets.
            batch_size: Photos that go through the network together.
            embeddings: Whether recognitions carry the embedding.
        """
        batch: list[Path] = []
        for photo in photos:
            batch.append(photo)
            if len(batch) == batch_size:
                yield from self._recognize_batch(batch, top, embeddings)
                batch = []
        if batch:
            yield from self._recognize_batch(batch, top, embeddings)

    def _recognize_batch(self, photos: Sequence[Path], top: int, embeddings: bool) -> Iterator[Recognition]:
        prepared: list[NDArray[np.uint8] | str] = []
        for photo in photos:
            try:
                prepared.append(prepare(photo, self.info.preprocessing))
            except ImageError as error:
                prepared.append(error.reason)
        pictures = [picture for picture in prepared if not isinstance(picture, str)]
        answers = self.answer(np.stack(pictures)) if pictures else None
        row = 0
        for photo, result in zip(photos, prepared, strict=True):
            if isinstance(result, str) or answers is None:
                yield Recognition(photo, (), str(result))
                continue
            probabilities = answers.probabilities[row]
            score = None if answers.scores is None else float(answers.scores[row])
            embedding = answers.embeddings[row] if embeddings else None
            yield Recognition(photo, self._candidates(probabilities, top), None, probabilities, score, embedding)
            row += 1

    def _candidates(self, probabilities: NDArray[np.float32], top: int) -> tuple[Candidate, ...]:
        order = np.argsort(-probabilities, kind="stable")
        best = [i for i in order if self._known[i]][:top]
        return tuple(Candidate(self.info.classes[i], float(probabilities[i])) for i in best)


def _calibration(folder: Path, info: ModelInfo) -> Calibration | None:
    if info.calibration is None:
        return None
    try:
        calibration = Calibration.from_dict(info.calibration)
    except ModelError as error:
        raise ModelError(f"{folder / INFO_FILE}: {error}") from error
    statistics = calibration.statistics
    if statistics is not None and len(statistics.means) != len(info.classes):
        raise ModelError(f"{folder / INFO_FILE}: the class means do not fit the classes: export the model again")
    return calibration
