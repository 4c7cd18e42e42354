"""The tools that `bulk.py` compares with; each runs in a separate process.

`python benchmarks/peers.py WAY FOLDER MODEL [ENGINE]` prints images/s, after a first pass over a few photos, and
when its network was loaded, on the clock of `time.perf_counter`. WAY is pillow-torchscript,
dataloader, ultralytics, decode or model; MODEL is a model folder, with `model.pt` for the first two.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

WARM = 8


def pillow_torchscript(photos: Sequence[Path], model: Path) -> Callable[[], object]:
    """Pillow, torchvision transforms and TorchScript, one photo after the other."""
    import torch

    transform, network = _torch_parts(model)

    def work() -> None:
        with torch.inference_mode():
            for photo in photos:
                network(transform(_open(photo))[None]).softmax(1).argmax(1)

    return work


def dataloader(photos: Sequence[Path], model: Path) -> Callable[[], object]:
    """A DataLoader with two workers, TorchScript on batches of 32."""
    import torch
    from torch.utils.data import DataLoader

    transform, network = _torch_parts(model)
    loader = DataLoader(_Photos(photos, transform), batch_size=32, num_workers=2)

    def work() -> None:
        with torch.inference_mode():
            for batch in loader:
                network(batch).softmax(1).argmax(1)

    return work


def ultralytics(photos: Sequence[Path], _model: Path) -> Callable[[], object]:
    """The classifier of ultralytics of the nearest size (YOLO11n-cls, 224 pixels), untrained."""
    from ultralytics import YOLO

    network = YOLO("yolo11n-cls.yaml")

    def work() -> None:
        for _ in network.predict([str(photo) for photo in photos], imgsz=224, stream=True, verbose=False):
            pass

    return work


def decode(photos: Sequence[Path], model: Path) -> Callable[[], object]:
    """Our decoding and cropping alone."""
    from landmarks.imaging.preprocessing import prepare
    from landmarks.model.folder import read_info

    contract = read_info(model).preprocessing
    return lambda: [prepare(photo, contract) for photo in photos]


def model(photos: Sequence[Path], model: Path) -> Callable[[], object]:
    """Our network alone, in batches as `landmarks tag` makes them."""
    from landmarks.imaging.preprocessing import prepare
    from landmarks.model.recognizer import Recognizer
    from landmarks.tagging.workers import BATCH

    recognizer = Recognizer(model, engine=_engine())
    batch = np.stack([prepare(photo, recognizer.info.preprocessing) for photo in photos[:BATCH]])
    return lambda: [recognizer.answer(batch) for _ in range(0, len(photos), BATCH)]


class _Photos:
    def __init__(self, photos: Sequence[Path], transform: Callable[..., object]) -> None:
        self.photos, self.transform = photos, transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> object:
        return self.transform(_open(self.photos[index]))


def _engine() -> str:
    return sys.argv[4] if len(sys.argv) > 4 else "onnxruntime"


def _open(photo: Path) -> object:
    from PIL import Image

    return Image.open(photo).convert("RGB")


def _torch_parts(model: Path) -> tuple[Callable[..., object], Callable[..., object]]:
    from torchvision import transforms

    from landmarks.model.folder import read_info
    from landmarks.training.export.predictor import load_torchscript

    contract = read_info(model).preprocessing
    steps = [
        transforms.Resize(contract.resize),
        transforms.CenterCrop(contract.crop),
        transforms.ToTensor(),
        transforms.Normalize(contract.mean, contract.std),
    ]
    return transforms.Compose(steps), load_torchscript(model / "model.pt").model


WAYS = {
    "pillow-torchscript": pillow_torchscript,
    "dataloader": dataloader,
    "ultralytics": ultralytics,
    "decode": decode,
    "model": model,
}


def main() -> None:
    warnings.simplefilter("ignore")
    way, folder, model = WAYS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    photos = sorted(folder.glob("*.jpg"))
    warm = way(photos[:WARM], model)
    loaded = time.perf_counter()
    warm()
    work = way(photos, model)
    started = time.perf_counter()
    work()
    print(len(photos) / (time.perf_counter() - started), loaded)


if __name__ == "__main__":
    main()
