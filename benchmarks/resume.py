"""A training of several stages, killed at random moments: whether it ends as one that was left alone.

Run `python benchmarks/resume.py`; it takes a quarter of an hour. The images are drawn by `tests/drawn.py`. The
training is a fine-tuning of the tests' small backbone, which decodes and embeds the images, trains a head, trains
the whole network with crops of two sizes, and evaluates it.

- Killed once: each training gets a kill -9 at a moment drawn from the time that an undisturbed one takes, the
  start of the program included, and is then resumed, or started again if there is no run yet. Every other one has
  an empty cache, the others share one.
- Killed again and again: one training, killed at moments drawn from the same time until all kills are used.

Compared with an undisturbed run are the rows of both histories without their times, every weight, the metrics of
validation and test, and every prediction. A hidden or half-written file that is left is a difference, too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from record import RESULTS, record, table

from landmarks.training.models.weights import read_weights
from landmarks.training.runs.folder import RunFolder, read_history

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from drawn import draw_dataset
from tiny_backbone import TINY_BACKBONE

EPOCHS = 6
FLAGS = (
    *(
        "--method",
        "transfer",
        *TINY_BACKBONE,
        "--unfreeze",
        "--views",
        "2",
        "--epochs",
        str(EPOCHS),
        "--sizes",
        "48,64",
    ),
    *("--batch-size", "8", "--threads", "1"),
)


@dataclass(frozen=True)
class Training:
    """A training in a process of its own.

    Attributes:
        data: The image folder.
        run: The run folder to make.
        cache: Folder of decoded images and embeddings.
    """

    data: Path
    run: RunFolder
    cache: Path

    def go_on(self, kill_after: float | None) -> bool:
        """Start or resume the training; kill it after some seconds, unless it is faster. Return whether it ended.

        Raises:
            RuntimeError: It ended with an error.
        """
        # What a process of a run does first is to write its settings.
        begun = self.run.settings.is_file()
        words = ["--resume", self.run.root] if begun else [self.data, "--out", self.run.root, *FLAGS]
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "landmarks",
                "train",
                *map(str, words),
                *([] if begun else ["--cache", self.cache]),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                _, told = process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return False
        if process.returncode != 0:
            raise RuntimeError(f"{self.run.root}: landmarks train: {told}")
        return True

    def stage(self) -> str:
        """Return how far the training is, by what is in its folder."""
        run = self.run
        passed = {
            "reading images": run.settings.is_file(),
            "decoding and embedding": run.info.is_file(),
            "training the head": (run.root / "head").is_dir(),
            "first epoch of fine-tuning": run.weights.is_file(),
            "fine-tuning": run.checkpoint.is_file(),
            "evaluating": run.history.is_file() and len(read_history(run.history)) == EPOCHS,
            "ending": run.report.is_file(),
        }
        return ([stage for stage, is_passed in passed.items() if is_passed] or ["starting"])[-1]


def differences(run: RunFolder, reference: RunFolder) -> list[str]:
    """Name what differs between two finished runs, and files that should not be there."""
    found = []
    for name in ("metrics.csv", "head/metrics.csv"):
        rows = [
            [replace(row, seconds=0.0, images_per_second=0.0) for row in read_history(one.root / name)]
            for one in (run, reference)
        ]
        found += [name] if rows[0] != rows[1] or not rows[0] else []
    ours, theirs = read_weights(run.weights).tensors, read_weights(reference.weights).tensors
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        found.append("weights")
    for split in ("valid", "test"):
        for name in (f"metrics_{split}.json", f"predictions_{split}.csv", f"confusion_{split}.csv"):
            if (run.root / name).read_bytes() != (reference.root / name).read_bytes():
                found.append(name)
    if not run.report.is_file() or "seconds" not in json.loads(run.info.read_text(encoding="utf-8")):
        found.append("no end")
    return found + [f"{path.name} is left" for path in run.root.rglob(".*")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, kill, compare and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--images", type=int, default=24, help="drawn per class, of four classes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    moments = random.Random(given.seed)
    with TemporaryDirectory(prefix="landmarks-resume-") as name:
        base = Path(name)
        data = base / "data"
        draw_dataset(data, classes=4, train_per_class=given.images, test_per_class=6, seed=1)

        def training(kind: str, cache: str) -> Training:
            return Training(data, RunFolder(base / kind), base / cache)

        seconds = []
        for kind in ("undisturbed", "again"):  # the second has a warm cache
            began = time.perf_counter()
            training(kind, "cache").go_on(None)
            seconds.append(time.perf_counter() - began)
        reference = RunFolder(base / "undisturbed")
        rows = [["left alone once more", "-", "-", *_compared([RunFolder(base / "again")], reference)]]
        stages: Counter[str] = Counter()
        once: list[RunFolder] = []
        for number in range(given.kills):
            one = training(f"once-{number}", f"cache-{number}" if number % 2 else "cache")
            ended = one.go_on(moments.uniform(0, seconds[0 if number % 2 else 1]))
            stages["after its end" if ended else one.stage()] += 1
            ended = ended or one.go_on(None)
            once.append(one.run)
        rows.append(
            [f"{given.kills} trainings, each killed once", given.kills, _told(stages), *_compared(once, reference)]
        )
        stages, kills = Counter(), 0
        often = training("often", "cache-often")
        while kills < given.kills and not often.go_on(moments.uniform(0, seconds[0])):
            kills += 1
            stages[often.stage()] += 1
        often.go_on(None)
        rows.append(
            ["one training, killed again and again", kills, _told(stages), *_compared([often.run], reference)]
        )
    body = table(["trainings", "kills", "where", "runs compared", "runs that differ", "in what"], rows)
    body += (
        f"\n\nAn undisturbed training took {seconds[0]:.1f} s, with a warm cache {seconds[1]:.1f} s; "
        f"the seed of the moments is {given.seed}."
    )
    command = f"python benchmarks/resume.py --kills {given.kills} --seed {given.seed}"
    record("resume", "Trainings that are killed and resumed", command, body, ["torch"], folders=[given.out])
    return 0 if all(row[4] == 0 for row in rows) else 1


def _compared(runs: Sequence[RunFolder], reference: RunFolder) -> list[object]:
    """Return how many runs were compared, how many differ, and in what."""
    found = [differences(run, reference) for run in runs]
    named = Counter(one for all_of_run in found for one in all_of_run)
    return [len(runs), sum(map(bool, found)), _told(named)]


def _told(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.most_common()) or "-"


if __name__ == "__main__":
    sys.exit(main())
