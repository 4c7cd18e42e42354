"""Shared by the search benchmarks: the data sets and their embeddings, computed once.

The frozen backbone is EfficientNet-Lite0 with its ImageNet weights, run by ONNX Runtime. Its last feature map is
pooled to two embeddings of unit length: the mean over positions, which `landmarks train --method transfer` uses,
and the generalised mean (GeM) with power 3 of Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no
human annotation", TPAMI 2018, https://arxiv.org/abs/1711.02512.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from bundle import halves
from numpy.typing import NDArray

from landmarks.files.atomic import atomic_path
from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.recognizer import Recognizer

Vectors = NDArray[np.float32]
GEM_POWER = 3.0
BATCH = 4


@dataclass(frozen=True)
class Pictures:
    """The images of a split with the numbers of their classes."""

    paths: Sequence[Path]
    labels: NDArray[np.int64]


def world34(data: Path, split: str) -> Pictures:
    """The images of `train` or `test`, class by class."""
    folders = sorted((data / "world34" / split).iterdir())
    paths = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.jpg"))]
    return Pictures([path for path, _ in paths], np.array([label for _, label in paths]))


def class_names(data: Path) -> list[str]:
    """The classes of world34 in the order of the labels."""
    return [folder.name for folder in sorted((data / "world34" / "train").iterdir())]


def negatives(data: Path) -> tuple[list[Path], list[Path]]:
    """Photos without a landmark: one half to choose thresholds, the other to evaluate."""
    return halves(data)


def frozen(paths: Sequence[Path], cache: Path) -> Mapping[str, Vectors]:
    """Embeddings of the frozen backbone: `plain` (N, 1280) and `gem` (N, 1280), of unit length."""
    graph = cache / "lite0-gem.onnx"
    if not graph.is_file():
        _export(graph)

    def open_session() -> Callable[[NDArray[np.uint8]], Mapping[str, Vectors]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(graph), options, ["CPUExecutionProvider"])

        def run(batch: NDArray[np.uint8]) -> Mapping[str, Vectors]:
            (both,) = session.run(["embedding"], {"pictures": batch})
            plain, gem = np.split(both, 2, axis=1)
            return {"plain": plain, "gem": gem}

        return run

    return _cached(paths, cache, sha256_file(graph), Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3), open_session)


def of_model(folder: Path, paths: Sequence[Path], cache: Path) -> Mapping[str, Vectors]:
    """Outputs of a model folder: `plain` (N, D) of unit length, `logits` (N, K)."""
    recognizer = Recognizer(folder)

    def answer(batch: NDArray[np.uint8]) -> Mapping[str, Vectors]:
        answers = recognizer.answer(batch)
        lengths = np.linalg.norm(answers.embeddings, axis=1, keepdims=True)
        return {"plain": answers.embeddings / lengths, "logits": answers.logits}

    key = recognizer.info.files["model.onnx"]
    return _cached(paths, cache, key, recognizer.info.preprocessing, lambda: answer)


def _cached(
    paths: Sequence[Path],
    cache: Path,
    key: str,
    preprocessing: Preprocessing,
    start: Callable[[], Callable[[NDArray[np.uint8]], Mapping[str, Vectors]]],
) -> Mapping[str, Vectors]:
    digest = hashlib.sha256(key.encode() + "\n".join(str(path.resolve()) for path in paths).encode())
    file = cache / f"embeddings-{digest.hexdigest()[:20]}.npz"
    if not file.is_file():
        run = start()
        batches = [paths[begin : begin + BATCH] for begin in range(0, len(paths), BATCH)]
        parts = [run(np.stack([prepare(path, preprocessing) for path in batch])) for batch in batches]
        with atomic_path(file) as temporary:
            np.savez(temporary, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    with np.load(file) as stored:
        return dict(stored)


def _export(path: Path) -> None:
    """Write the frozen backbone as ONNX; its embedding concatenates both poolings."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import normalize

    from landmarks.training.models.onnx_graph import write_onnx
    from landmarks.training.models.transfer import get_model_transfer_learning

    model, preprocessing = get_model_transfer_learning("efficientnet_lite0", 2)

    class TwoPoolings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = model.backbone
            self.head = nn.Linear(2 * model.embedding_size, 1)  # a graph has logits too

        def embed(self, x: Tensor) -> Tensor:
            features = self.backbone.forward_features(x)  # (B, D, 7, 7), none below 0
            gem = features.clamp_min(1e-6).pow(GEM_POWER).mean((2, 3)).pow(1 / GEM_POWER)
            return torch.cat([normalize(features.mean((2, 3))), normalize(gem)], dim=1)

    write_onnx(TwoPoolings(), preprocessing, path)
