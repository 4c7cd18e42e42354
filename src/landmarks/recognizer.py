"""A model folder becomes a recogniser: pictures in, probabilities and embeddings out, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from landmarks.errors import ImageError, ModelError
from landmarks.model_folder import ONNX_FILE, ModelInfo, check_file, read_info
from landmarks.preprocess import prepare


@dataclass(frozen=True)
class Answers:
    """What a recogniser says of a batch.

    Attributes:
        probabilities: (N, K) float32; each row sums to 1.
        embeddings: (N, D) float32, for search and for telling the unknown.
    """

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]


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
        candidates: The likeliest classes, likeliest first; empty where the photo cannot be read.
        error: Why the photo cannot be read, or None.
    """

    path: Path
    candidates: tuple[Candidate, ...]
    error: str | None = None


class Recognizer:
    """A model folder, loaded.

    Args:
        folder: Made by `landmarks export`.
        threads: Threads of one answer. One is best where several processes share the cores.

    Attributes:
        info: What `model.json` says.

    Raises:
        ModelError: The folder is damaged, or does not hold what `model.json` says.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self.info: ModelInfo = read_info(folder)
        path = check_file(folder, self.info, ONNX_FILE)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}): export the model again") from error
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        if not {"logits", "embedding"} <= set(outputs) or outputs["logits"][-1] != len(self.info.classes):
            raise ModelError(
                f"{path}: the network does not have the outputs that model.json says: export it again"
            )

    def answer(self, pictures: NDArray[np.uint8]) -> Answers:
        """Recognise prepared pictures.

        Args:
            pictures: (N, crop, crop, 3) uint8, from `landmarks.preprocess.prepare`.

        Returns:
            Calibrated probabilities and embeddings, in the order of the pictures.
        """
        name = self._session.get_inputs()[0].name
        logits, embeddings = self._session.run(["logits", "embedding"], {name: pictures})
        scaled = logits.astype(np.float64) / self.info.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return Answers(probabilities.astype(np.float32), embeddings)

    def recognize(self, photos: Iterable[Path], *, top: int = 5, batch_size: int = 4) -> Iterator[Recognition]:
        """Recognise photos, in order; one that cannot be read gives its reason and stops nothing.

        Args:
            photos: Files.
            top: How many candidates a photo gets.
            batch_size: Photos that go through the network together.
        """
        batch: list[Path] = []
        for photo in photos:
            batch.append(photo)
            if len(batch) == batch_size:
                yield from self._recognize_batch(batch, top)
                batch = []
        if batch:
            yield from self._recognize_batch(batch, top)

    def _recognize_batch(self, photos: Sequence[Path], top: int) -> Iterator[Recognition]:
        prepared: list[NDArray[np.uint8] | str] = []
        for photo in photos:
            try:
                prepared.append(prepare(photo, self.info.preprocessing))
            except ImageError as error:
                prepared.append(error.reason)
        pictures = [picture for picture in prepared if not isinstance(picture, str)]
        rows: Iterator[NDArray[np.float32]] = iter(())
        if pictures:
            rows = iter(self.answer(np.stack(pictures)).probabilities)
        for photo, result in zip(photos, prepared, strict=True):
            if isinstance(result, str):
                yield Recognition(photo, (), result)
                continue
            row = next(rows)
            best = np.argsort(-row, kind="stable")[:top]
            candidates = tuple(Candidate(self.info.classes[i], float(row[i])) for i in best)
            yield Recognition(photo, candidates)
