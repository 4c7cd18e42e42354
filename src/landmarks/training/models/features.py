"""Embeddings of a frozen backbone, computed once per image and cached.

Because the backbone is not trained, each image (and each of a few augmented views of it) has a fixed embedding,
and the head trains on vectors in seconds. On a CPU the embeddings are computed by ONNX Runtime,
from the same graph that is exported, which is three to four times faster than the network in PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from landmarks.errors import StorageError
from landmarks.files.atomic import atomic_path
from landmarks.files.locks import locked
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.engines import open_session
from landmarks.model.vectors import DAMAGED
from landmarks.training.config.settings import AugmentSettings
from landmarks.training.config.settings import Sampler as SamplerName
from landmarks.training.data.augment import TrainTransform
from landmarks.training.data.cache import PictureCache, Progress, resolved
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import EvalTransform, Loader
from landmarks.training.data.sampling import sampling_weights
from landmarks.training.models.accelerators import uses_cuda
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import TransferModel

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
BATCH = 16

BLOCK = 512
"""Number of images whose embeddings are saved at once."""

_WAIT = 24 * 3600.0  # seconds, for another process that embeds the same


class EmbeddingDataset(Dataset[tuple[Tensor, int]]):
    """Embeddings of one split; each access to an image draws one of its views.

    Args:
        embeddings: (N, V, D); view 0 is the centre crop.
        samples: The split, N samples.
    """

    def __init__(self, embeddings: NDArray[np.float32], samples: Sequence[Sample]) -> None:
        self._embeddings = torch.from_numpy(embeddings)
        self._labels = [sample.label for sample in samples]

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def class_counts(self) -> list[int]:
        """Number of images of each class."""
        counts: list[int] = np.bincount(self._labels).tolist()
        return counts

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        views = self._embeddings[position]
        view = int(torch.randint(len(views), ())) if len(views) > 1 else 0
        return views[view], self._labels[position]


def embedding_loader(
    embeddings: NDArray[np.float32],
    samples: Sequence[Sample],
    batch_size: int,
    *,
    sampler: SamplerName | None = None,
) -> Loader:
    """Return a loader of (embedding (B, D), label (B,)).

    Args:
        embeddings: (N, V, D), from `compute_embeddings`.
        samples: The N samples.
        batch_size: Embeddings per step.
        sampler: How training draws the images of an epoch, by torch's global seed; None for all in their order.
    """
    dataset = EmbeddingDataset(embeddings, samples)
    if sampler is None:
        return DataLoader(dataset, batch_size)
    weights = sampling_weights([sample.label for sample in samples], sampler)
    order = RandomSampler(dataset) if weights is None else WeightedRandomSampler(weights, len(samples))
    return DataLoader(dataset, batch_size, sampler=order, drop_last=len(samples) > batch_size)


@dataclass(frozen=True)
class Views:
    """Views of each image that are embedded.

    Attributes:
        count: How many, at least 1; the first is the centre crop of the contract.
        augment: Augmentation of the others, or None for none.
        seed: Seed of the augmentation.
    """

    count: int = 1
    augment: AugmentSettings | None = None
    seed: int = 0


def compute_embeddings(
    model: TransferModel,
    cache: PictureCache,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    accelerator: str = "auto",
    views: Views = Views(),
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the embeddings of images and of augmented views of them, from the cache if possible.

    They are saved as they are computed: after an interruption at most `BLOCK` images are embedded again.

    Args:
        model: The model with the backbone.
        cache: The decoded images.
        samples: The images to embed.
        preprocessing: The preprocessing of the backbone.
        folder: Cache folder of embeddings.
        accelerator: As in `LoopSettings`; a GPU is used if it allows one.
        views: Views of each image.
        progress: Called with (views done, total views).

    Returns:
        (N, views, D) float32, each of unit length.
    """
    graph = _backbone_graph(model, preprocessing, folder)
    # The name of the graph stands for the weights and the whole preprocessing.
    digest = hashlib.sha256(f"{graph.name} {views.count} {views.seed} {views.augment}\n".encode())
    for sample, place in zip(samples, resolved(sample.path for sample in samples), strict=True):
        status = sample.path.stat()
        digest.update(f"{place} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    file = folder / f"embeddings-{digest.hexdigest()[:20]}.npy"
    shape = len(samples), views.count
    if (stored := _read_embeddings(file, shape)) is not None:
        return stored
    busy = StorageError(f"{file}: another process has been making it for a day: end it")
    with locked(file.with_suffix(".lock"), wait=_WAIT, busy=busy):
        if (stored := _read_embeddings(file, shape)) is not None:  # another process may just have made it
            return stored
        embed = _embedder(model, preprocessing, graph, accelerator)
        drawn = TrainTransform(views.augment or AugmentSettings(names=()), preprocessing.crop, preprocessing)
        crops = partial(_crops, cache, plain=EvalTransform(preprocessing), drawn=drawn, views=views.count)
        parts = file.with_suffix(".parts")
        blocks = _blocks(embed, crops, samples, views, parts=parts, progress=progress)
        embeddings = np.concatenate(blocks).reshape(*shape, -1)
        with atomic_path(file) as temporary, temporary.open("wb") as out:
            np.save(out, embeddings)
        shutil.rmtree(parts, ignore_errors=True)
    return embeddings


def _blocks(
    embed: Embed,
    crops: Callable[[Sequence[Sample]], Iterator[NDArray[np.uint8]]],
    samples: Sequence[Sample],
    views: Views,
    *,
    parts: Path,
    progress: Progress | None,
) -> list[NDArray[np.float32]]:
    """Return the embeddings of each `BLOCK` of samples, from `parts` where an earlier attempt left them."""
    blocks: list[NDArray[np.float32]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(views.seed)
        for number, start in enumerate(range(0, len(samples), BLOCK)):
            part = parts / f"{number:05d}.npz"
            rows = _read_part(part)
            if rows is None:
                batches = _batches(crops(samples[start : start + BLOCK]), BATCH)
                rows = np.concatenate(list(_beside(embed, batches)))
                _write_part(part, rows)
            blocks.append(rows)
            if progress:
                progress(min(len(samples), start + BLOCK) * views.count, len(samples) * views.count)
    return blocks


def _read_embeddings(file: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the cached embeddings, or None if there are none or they are damaged."""
    try:
        stored: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except DAMAGED:
        return None
    return stored if stored.ndim == 3 and stored.shape[:2] == shape else None


def _write_part(path: Path, rows: NDArray[np.float32]) -> None:
    """Save the embeddings of a block, and the random state for the next one."""
    with atomic_path(path) as temporary, temporary.open("wb") as out:
        np.savez(out, rows=rows, rng=torch.get_rng_state().numpy())


def _read_part(path: Path) -> NDArray[np.float32] | None:
    """Return the saved embeddings of a block and restore the random state; None if there are none."""
    try:
        with np.load(path, allow_pickle=False) as part:
            rows: NDArray[np.float32] = part["rows"]
            torch.set_rng_state(torch.from_numpy(part["rng"]))
    except DAMAGED:  # or missing
        return None
    return rows


def _crops(
    cache: PictureCache, samples: Sequence[Sample], *, plain: EvalTransform, drawn: TrainTransform, views: int
) -> Iterator[NDArray[np.uint8]]:
    for sample in samples:
        picture = cache.picture(sample.path)
        yield plain.crop(picture)
        for _ in range(views - 1):
            yield drawn(picture).permute(1, 2, 0).contiguous().numpy()


def _batches(crops: Iterator[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    batch: list[NDArray[np.uint8]] = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _beside(embed: Embed, batches: Iterable[NDArray[np.uint8]], ahead: int = 2) -> Iterator[NDArray[np.float32]]:
    """Embed batches, in order, in as many threads as PyTorch has, while this thread alone makes the next ones.

    Args:
        embed: Embeds one batch in the thread that calls it.
        batches: The batches.
        ahead: How many may wait for each thread.
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[NDArray[np.float32]]] = deque()
    torch.set_num_threads(1)  # more gain nothing on one image, and would be awake beside the embedding
    try:
        with ThreadPoolExecutor(threads) as pool:
            for batch in batches:
                waiting.append(pool.submit(embed, batch))
                if len(waiting) > ahead * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)


def _backbone_graph(model: TransferModel, preprocessing: Preprocessing, folder: Path) -> Path:
    """Return the path of the backbone as ONNX, cached by the digest of its weights and its preprocessing."""
    digest = hashlib.sha256(json.dumps(preprocessing.to_dict()).encode())
    for name, value in model.backbone.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    path = folder / f"backbone-{digest.hexdigest()[:20]}.onnx"
    if not path.is_file():
        write_onnx(model, preprocessing, path)
    return path


def _embedder(model: TransferModel, preprocessing: Preprocessing, graph: Path, accelerator: str) -> Embed:
    if uses_cuda(accelerator):
        return _torch_embedder(model, preprocessing)
    try:
        session = open_session(graph, threads=1)  # several batches are embedded at once
    except Exception:  # noqa: BLE001 - ONNX Runtime's errors have no common class
        # Damaged: made again.
        write_onnx(model, preprocessing, graph)
        session = open_session(graph, threads=1)

    def embed(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run(["embedding"], {"pictures": batch})[0]
        return result

    return embed


def _torch_embedder(model: TransferModel, preprocessing: Preprocessing) -> Embed:
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1).cuda()
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1).cuda()
    # A copy: the caller goes on with its network where it was, to export it for example.
    model = deepcopy(model).cuda().eval()

    @torch.no_grad()
    def embed(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures = torch.from_numpy(batch).cuda().permute(0, 3, 1, 2).float() / 255
        result: NDArray[np.float32] = model.embed((pictures - mean) / std).float().cpu().numpy()
        return result

    return embed
