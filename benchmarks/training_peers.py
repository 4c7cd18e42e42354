"""What other trainers reach on the same pictures in the same minutes on the same cores, each with its own recipe.

Run `python benchmarks/training_peers.py DATA --minutes 6 --timm-script train.py --python PYTHON`, DATA being an
image folder with train/ and test/. train.py is that of the timm repository, which the package does not contain;
PYTHON is one that has fastai and ultralytics. What is not given is left out, and said so.

Each trainer first runs for a few epochs, so that the number of epochs that fit into the minutes is known, and then
once for that long, from start to end: its schedule is complete. The others train on all of DATA/train and are
measured on DATA/test with the weights of their last epoch. `landmarks` keeps a part of DATA/train to select its
weights by, as it always does.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from record import record, table

from landmarks.training.config.settings import AugmentSettings
from landmarks.training.metrics.evaluate import proportion
from landmarks.training.models.backbones import load_backbone

HERE = Path(__file__).resolve().parent
SIZE = 128
"""Side of the training crop of the others, in pixels: the mean of ours."""
FINETUNE_SIZE = 192
TIMM_SCRATCH = ["--opt", "adamw", "--lr", "2e-3", "--weight-decay", "0.05"]
TIMM_FINETUNE = ["--opt", "adamw", "--lr", "3e-4", "--weight-decay", "0.05"]
TIMM_AUGMENT = ["--aa", "rand-m7-mstd0.5-inc1", "--reprob", "0.1", "--mixup", "0.1", "--smoothing", "0.1"]
"""As in timm's own recipes for short schedules on small networks."""


@dataclass(frozen=True)
class Trainer:
    """One row.

    Attributes:
        name: As in the table.
        trial: Epochs of the shorter of the two runs that show how long an epoch takes.
        train: Trains so many epochs into a folder that does not exist yet; returns the test accuracy.
    """

    name: str
    trial: int
    train: Callable[[int, Path], float]


def run(words: list[str], folder: Path) -> str:
    """Run a command in a folder, where some trainers leave files, and return what it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True, cwd=folder)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def ours(data: Path, flags: list[str]) -> Callable[[int, Path], float]:
    """`landmarks train`; every run reads the pictures anew, as the first of a user would."""

    def train(epochs: int, out: Path) -> float:
        words = ["-m", "landmarks", "train", str(data), "--out", str(out), "--cache", f"{out}-cache"]
        run([sys.executable, *words, "--epochs", str(epochs), *flags], out.parent)
        return float(json.loads((out / "metrics_test.json").read_text())["top1"]["value"])

    return train


def timm(data: Path, script: Path, size: int, flags: list[str]) -> Callable[[int, Path], float]:
    """The training script of timm."""
    classes = sum(folder.is_dir() for folder in (data / "train").iterdir())

    def train(epochs: int, out: Path) -> float:
        words = [sys.executable, str(script), "--data-dir", str(data), "--val-split", "test", "--device", "cpu"]
        words += ["--num-classes", str(classes), "--img-size", str(size), "--batch-size", "64", "--workers", "2"]
        words += ["--epochs", str(epochs), "--warmup-epochs", str(epochs // 4)]
        words += ["--cooldown-epochs", "0", "--checkpoint-hist", "1", "--channels-last"]
        run([*words, "--output", str(out.parent), "--experiment", out.name, *TIMM_AUGMENT, *flags], out.parent)
        with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
            return float(list(csv.DictReader(file))[-1]["eval_top1"]) / 100

    return train


def other(data: Path, python: str, way: str) -> Callable[[int, Path], float]:
    """A trainer of `rival_trainers.py`."""

    def train(epochs: int, out: Path) -> float:
        script = str(HERE / "rival_trainers.py")
        words = [python, script, way, str(data), str(epochs), str(SIZE), str(out)]
        return float(run(words, out.parent).split()[-1])

    return train


def lite0_weights(out: Path) -> Path:
    """EfficientNet-Lite0's ImageNet weights, which `landmarks` uses too, as a file for timm."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save(load_backbone("efficientnet_lite0").network.state_dict(), out / "lite0.pth")
    return out / "lite0.pth"


def trainers(data: Path, out: Path, script: Path | None, python: str | None) -> list[Trainer]:
    """The rows: from scratch, then with ImageNet weights."""
    mixed = ["--augment", ",".join((*AugmentSettings.names, "mixup", "cutmix"))]
    scratch = [
        Trainer("landmarks, MyModel", 3, ours(data, ["--method", "scratch"])),
        Trainer("landmarks, with MixUp and CutMix", 3, ours(data, ["--method", "scratch", *mixed])),
    ]
    tuned = [Trainer("landmarks, Lite0 fine-tuned", 2, ours(data, ["--method", "transfer", "--unfreeze"]))]
    if script is not None:
        for title, model in (("ResNet-18", "resnet18"), ("EfficientNet-Lite0", "tf_efficientnet_lite0")):
            flags = ["--model", model, *TIMM_SCRATCH]
            scratch.append(Trainer(f"timm, {title}", 1, timm(data, script, SIZE, flags)))
        flags = ["--model", "tf_efficientnet_lite0", "--pretrained", *TIMM_FINETUNE]
        flags += ["--pretrained-path", str(lite0_weights(out))]
        tuned.append(Trainer("timm, Lite0 fine-tuned", 1, timm(data, script, FINETUNE_SIZE, flags)))
    if python is not None:
        scratch.append(Trainer("fastai, XResNet-18", 1, other(data, python, "fastai")))
        scratch.append(Trainer("ultralytics, YOLO11n-cls", 1, other(data, python, "ultralytics")))
    return scratch + tuned


def timed(trainer: Trainer, epochs: int, out: Path) -> tuple[float, float]:
    """The test accuracy after so many epochs, and the seconds of the whole run."""
    started = time.perf_counter()
    accuracy = trainer.train(epochs, out)
    return accuracy, time.perf_counter() - started


def epochs_in(seconds: float, trainer: Trainer, out: Path) -> int:
    """How many epochs fit, from two short runs: what does not grow with the epochs counts once."""
    _, short = timed(trainer, trainer.trial, out / "trial")
    _, longer = timed(trainer, 2 * trainer.trial, out / "longer")
    epoch = (longer - short) / trainer.trial
    return max(1, int((seconds - (short - trainer.trial * epoch)) / epoch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/training-peers"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--timm-script", type=lambda path: Path(path).resolve())
    parser.add_argument("--python", help="one that has fastai and ultralytics")
    parser.add_argument("--rows", nargs="*", help="beginnings of names, of the rows to measure; by default all")
    given = parser.parse_args()
    count = sum(1 for path in (given.data / "test").rglob("*") if path.is_file())
    rows = []
    data, out = given.data.resolve(), given.out.resolve()
    for number, trainer in enumerate(trainers(data, out, given.timm_script, given.python)):
        if given.rows and not trainer.name.startswith(tuple(given.rows)):
            continue
        folder = out / str(number)
        done = folder / "done.json"  # the next run with the same folder goes on from here
        if not done.is_file():
            epochs = epochs_in(60 * given.minutes, trainer, folder)
            done.write_text(json.dumps([epochs, *timed(trainer, epochs, folder / "run")]))
        epochs, accuracy, seconds = json.loads(done.read_text())
        found = proportion(round(accuracy * count), count)
        interval = f"{found.low:.3f} - {found.high:.3f}"
        rows.append([trainer.name, epochs, f"{seconds / 60:.1f}", f"{accuracy:.4f}", interval])
        print(rows[-1], file=sys.stderr)
    left_out = [
        name
        for name, there in (
            ("timm", given.timm_script),
            ("fastai and ultralytics", given.python),
        )
        if there is None
    ]
    body = table(["trainer", "epochs", "minutes", "test accuracy", "95 % interval"], rows)
    body += (
        f"\n\n{given.data.name}, {count} test pictures, one seed. From scratch the others train on crops of {SIZE}"
    )
    body += f" pixels, ours of 96, 128 and 160; fine-tuning on {FINETUNE_SIZE}, ours as `landmarks train` does."
    body += f" Not given: {', '.join(left_out)}." if left_out else ""
    command = f"python benchmarks/training_peers.py DATA --minutes {given.minutes:g}"
    command += " --timm-script train.py" if given.timm_script else ""
    command += " --python PYTHON" if given.python else ""
    command += f" --rows {shlex.join(given.rows)}" if given.rows else ""
    record("training_peers", "Other trainers in the same minutes", command, body, ["torch", "timm"])


if __name__ == "__main__":
    main()
