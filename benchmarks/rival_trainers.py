"""Training by fastai and ultralytics, for comparison in `benchmarks/training_peers.py`.

`python benchmarks/rival_trainers.py fastai|ultralytics DATA EPOCHS SIZE OUT` trains from scratch on DATA/train and
prints the accuracy on DATA/test after the last epoch as its last line. Each uses the recipe of its own examples.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def fastai(data: Path, epochs: int, size: int, _out: Path) -> float:
    """The recipe of fastai's Imagenette example: XResNet with self-attention and Mish, Ranger, flat and cosine."""
    from fastai.vision.all import (
        ImageDataLoaders,
        LabelSmoothingCrossEntropy,
        Learner,
        Mish,
        RandomResizedCrop,
        accuracy,
        ranger,
        set_seed,
        xresnet18,
    )

    set_seed(0, reproducible=True)
    loaders = ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="test",
        item_tfms=RandomResizedCrop(size, min_scale=0.35),
        bs=64,
        num_workers=2,
        device="cpu",
    )
    network = xresnet18(n_out=loaders.c, act_cls=Mish, sa=True)
    learner = Learner(loaders, network, opt_func=ranger, loss_func=LabelSmoothingCrossEntropy(), metrics=accuracy)
    learner.fit_flat_cos(epochs, lr=8e-3)
    return float(learner.validate()[1])


def ultralytics(data: Path, epochs: int, size: int, out: Path) -> float:
    """The smallest YOLO classifier with random weights and the defaults of `model.train`."""
    from ultralytics import YOLO

    YOLO("yolo11n-cls.yaml").train(
        data=str(data),
        epochs=epochs,
        imgsz=size,
        batch=64,
        workers=2,
        device="cpu",
        pretrained=False,
        project=str(out.parent),
        name=out.name,
        exist_ok=True,
        plots=False,
        verbose=False,
    )
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["metrics/accuracy_top1"])


if __name__ == "__main__":
    way, data, epochs, size, out = sys.argv[1:]
    trainers = {"fastai": fastai, "ultralytics": ultralytics}
    print(trainers[way](Path(data), int(epochs), int(size), Path(out)))
