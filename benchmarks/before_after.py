"""Whole commands with the code of before the rooms (commit 24ec2ab) and of now, in turns.

Run `git worktree add --detach OLD 24ec2ab`, then `pip install --no-deps --target OLD/src typer shellingham
annotated-doc`, and `python benchmarks/before_after.py OLD DATA`, DATA being the folder with world34. Both run in
this environment, on the same pictures and, where it says so, with the same network: the world34 that the old code
bundles.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from record import record, table

NEW = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """Arguments of Python, and the checkout whose package they use."""

    checkout: Path
    arguments: tuple[str, ...]

    def seconds(self) -> float:
        """Run it in a new folder and return its wall time."""
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "PYTHONPATH": str(self.checkout / "src"), "XDG_CACHE_HOME": folder}
            started = time.perf_counter()
            words = [sys.executable, *self.arguments]
            subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=True)
            return time.perf_counter() - started


RENAMED = {"promised_rate": "target_fpr", "sure": "min_confidence"}
"""Keys of a calibration, then and now."""


def as_of_now(model: Path, folder: Path) -> Path:
    """Copy a model folder of then with the names of now."""
    shutil.copytree(model, folder)
    info = folder / "model.json"
    values = json.loads(info.read_text(encoding="utf-8"))
    values["calibration"] = {RENAMED.get(key, key): value for key, value in values["calibration"].items()}
    info.write_text(json.dumps(values), encoding="utf-8")
    return folder


def compared(name: str, before: Command, after: Command, pairs: int) -> list[str]:
    """A row of medians, and of the ratios of the pairs."""
    before.seconds(), after.seconds()
    times = [(before.seconds(), after.seconds()) for _ in range(pairs)]
    ratios = [new / old for old, new in times]
    old, new = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
    return [f"{name}, {pairs} pairs", f"{old:.3f} s", f"{new:.3f} s", ratio]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    old, world34 = given.old.resolve(), given.data.resolve() / "world34"
    photos, photo = world34 / "test", next((world34 / "test").glob("*/*.jpg"))
    bundled = old / "src" / "landmarks" / "assets" / "world34"
    folder = tempfile.TemporaryDirectory()
    same_before, same = str(bundled), str(as_of_now(bundled, Path(folder.name) / "world34"))
    program = ("-m", "landmarks")
    two_before, two = ("--processes", "2", "--jsonl"), ("--workers", "2", "--jsonl")
    short = ("--epochs", "2", "--sizes", "96", "--limit", "640", "--out", "run")
    rows = [
        compared(
            f"`landmarks tag`, {len(list(photos.rglob('*.jpg')))} photos, two processes, same network",
            Command(old, (*program, "tag", str(photos), *two_before, "--model", same_before)),
            Command(NEW, (*program, "tag", str(photos), *two, "--model", same)),
            3,
        ),
        compared(
            "the same, new code: `world` (158 landmarks) against world34",
            Command(NEW, (*program, "tag", str(photos), *two, "--model", same)),
            Command(NEW, (*program, "tag", str(photos), *two)),
            3,
        ),
        compared(
            "`landmarks tag PHOTO`, same network",
            Command(old, (*program, "tag", str(photo), "--model", same_before)),
            Command(NEW, (*program, "tag", str(photo), "--model", same)),
            15,
        ),
        compared(
            "the same, `world` against world34 of before",
            Command(old, (*program, "tag", str(photo))),
            Command(NEW, (*program, "tag", str(photo))),
            15,
        ),
        compared(
            '`python -c "import landmarks"` against Python alone',
            Command(NEW, ("-c", "pass")),
            Command(NEW, ("-c", "import landmarks")),
            15,
        ),
        compared(
            "training from scratch, 640 pictures, 2 epochs of 96 pixels",
            Command(old, (*program, "train", str(world34), "--model", "scratch", *short)),
            Command(NEW, (*program, "train", str(world34), "--method", "scratch", *short)),
            1,
        ),
    ]
    body = table(["what", "before", "after", "after / before"], rows)
    body += (
        "\n\nMedians of wall time; the ratio is the median of those of the pairs, with the smallest and largest."
    )
    command = "python benchmarks/before_after.py OLD DATA"
    record("before_after", "Before and after the rooms", command, body, ["torch", "onnxruntime"])


if __name__ == "__main__":
    main()
