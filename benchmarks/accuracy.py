"""Accuracy and time of every way of training, on the data sets stored beside the project.

Run `python benchmarks/accuracy.py DATA --out RUNS`, DATA being the folder with world34, world124, landmarks10 and
monuments49; world158 is world34 and world124 together. Every number comes from `landmarks train` with the flags in
the table, once per seed; a finished run in RUNS is not trained again. The table is printed and written to
benchmarks/results/accuracy.md, or with `--only` to a file named after what was measured.

No run sees a test image before it is finished: the weights are selected on a validation split of `train`.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from record import record, table

from landmarks.training.metrics.evaluate import proportion

TOGETHER = {
    "world158": ("world34", "world124"),
    "all": ("world34", "world124", "landmarks10", "monuments49"),
}
"""Sets that are trained on as one."""
TARGETS = {
    "scratch": {"world34": 0.94, "world158": 0.80, "landmarks10": 0.80, "monuments49": 0.55},
    "transfer": {"world34": 0.96, "world158": 0.90, "landmarks10": 0.90, "monuments49": 0.88},
    "finetune": {"world34": 0.975, "world158": 0.92},
}
ELSEWHERE = {"finetune": 0.87}
"""Asked of runs on world34, on pictures of the same landmarks from other collections."""
STAGES = [
    ["--epochs", "16", "--sizes", "96,128"],
    ["--epochs", "12", "--sizes", "128,160", "--learning-rate", "1.5e-3"],
]
"""Runs from scratch on all sets together, each from the weights of the one before."""
FINISH = ["--epochs", "8", "--sizes", "160,192", "--learning-rate", "1e-3"]
"""The run on world34 alone, from the weights of the last of them."""
JOINT = ["--method", "scratch", "--valid-size", "0.1"]
TRANSFER = ["--method", "transfer", "--crop", "256"]
FINETUNE = ["--method", "transfer", "--unfreeze", "--crop", "256"]


def folder_of(data: Path, out: Path, name: str) -> Path:
    """Return the folder of a set, or make one with links to the classes of several sets."""
    if name not in TOGETHER:
        return data / name
    folder = out / f"{name}-data"
    for part in TOGETHER[name]:
        for split in ("train", "test"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            for source in sorted((data / part / split).iterdir()):
                link = folder / split / source.name
                if not link.exists():
                    link.symlink_to(source.resolve(), target_is_directory=True)
    return folder


def train(data: Path, out: Path, seed: int, flags: list[str]) -> Path:
    """Train unless the run is there, and return its folder."""
    run = out.with_name(f"{out.name}-seed{seed}")
    if not (run / "metrics_test.json").is_file():
        words = ["landmarks", "train", str(data), "--out", str(run), "--seed", str(seed), *flags]
        subprocess.run(words, check=True, stdout=sys.stderr)
    return run


def read(run: Path, before: float = 0.0) -> dict[str, float]:
    top1 = json.loads((run / "metrics_test.json").read_text())["top1"]
    seconds = json.loads((run / "run.json").read_text())["seconds"]
    return {**top1, "minutes": seconds / 60 + before}


def read_part(run: Path, classes: set[str]) -> dict[str, float]:
    """Accuracy of a run over several sets on the test images of one, among the classes of all."""
    with (run / "predictions_test.csv").open(encoding="utf-8", newline="") as file:
        answers = [(line["true"], line["predicted"]) for line in csv.DictReader(file)]
    part = [true == predicted for true, predicted in answers if true in classes]
    return {**asdict(proportion(sum(part), len(part))), "minutes": read(run)["minutes"]}


def on_other_sources(data: Path, run: Path) -> dict[str, float]:
    """Accuracy of a run on the same landmarks in pictures of collections that it has not seen."""
    found = run.with_name(f"{run.name}-other-source")
    if not (found / "metrics.json").is_file():
        words = ["landmarks", "evaluate", str(run), str(data / "other_source"), "--out", str(found)]
        subprocess.run(words, check=True, stdout=sys.stderr)
    top1 = json.loads((found / "metrics.json").read_text())["totals"]["known"]["top1"]
    return {**top1, "minutes": read(run)["minutes"]}


def row(
    way: str, name: str, found: Sequence[Mapping[str, float]], flags: str, *, target: float | None
) -> list[str]:
    """One way on one set; the interval is that of the mean over the seeds, on the images of one test set."""
    mean, count = statistics.mean(one["value"] for one in found), int(found[0]["count"])
    interval = proportion(round(mean * count), count)
    return [
        way,
        name,
        f"{mean:.4f}",
        ", ".join(f"{one['value']:.4f}" for one in found),
        f"{interval.low:.3f} - {interval.high:.3f}",
        "-" if target is None else f"{target:.3f}",
        "" if target is None else "reached" if mean >= target else "**short**",
        f"{min(one['minutes'] for one in found):.1f}",
        flags,
    ]


def by_source(runs: Mapping[str, Sequence[Path]]) -> str:
    """Accuracy on world34 by source: most classes have one source, so a model can learn the source.

    Args:
        runs: The runs on world34 of each way, one per seed; those of the first seed are shown.
    """
    sources = {}
    for way, (run, *_) in runs.items():
        listed = json.loads((run / "metrics_test.json").read_text())["sources"]
        sources[way] = {item["source"]: item["accuracy"] for item in listed}
    rows = []
    for name in sorted({name for found in sources.values() for name in found}):
        cells = [found[name] for found in sources.values()]
        shown = [f"{cell['value']:.3f} ({cell['low']:.3f} - {cell['high']:.3f})" for cell in cells]
        rows.append([name, cells[0]["count"], *shown])
    return table(["source", "test pictures", *sources], rows)


def from_scratch(data: Path, out: Path, seeds: range, sets: Sequence[str]) -> tuple[list[list[str]], list[Path]]:
    """Return the rows from scratch, and the runs on world34."""

    def chain(seed: int) -> list[Path]:
        runs = list[Path]()
        for number, stage in enumerate(STAGES, start=1):
            flags = [*stage, *JOINT, *(["--init", str(runs[-1])] if runs else [])]
            runs.append(train(folder_of(data, out, "all"), out / f"common{number}-all", seed, flags))
        return runs

    chains = [chain(seed) for seed in seeds]
    minutes = [sum(read(run)["minutes"] for run in runs) for runs in chains]
    stages = ", then ".join(f"`{' '.join(stage)}`" for stage in STAGES)
    joint = f"{stages}, on COMMON with `{' '.join(JOINT)}`"
    rows, on_world34 = [], []
    for name in sets:
        target = TARGETS["scratch"][name]
        if name != "world34":
            classes = {one.name for one in (folder_of(data, out, name) / "train").iterdir()}
            found = [
                read_part(runs[-1], classes) | {"minutes": spent}
                for runs, spent in zip(chains, minutes, strict=True)
            ]
            rows.append(row("scratch", name, found, joint, target=target))
            continue
        for seed, runs in zip(seeds, chains, strict=True):
            flags = [*FINISH, *JOINT, "--init", str(runs[-1])]
            on_world34.append(train(data / name, out / f"scratch-{name}", seed, flags))
        found = [read(run, spent) for run, spent in zip(on_world34, minutes, strict=True)]
        rows.append(row("scratch", name, found, f"{joint}, then `{' '.join(FINISH)}`", target=target))
    return rows, on_world34


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", choices=("scratch", "transfer", "finetune"), nargs="*")
    parser.add_argument("--sets", nargs="*", help="all of them unless given")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    ways = given.only or list(TARGETS)
    seeds = range(given.seeds)
    rows: list[list[str]] = []
    on_world34: dict[str, list[Path]] = {}
    if "scratch" in ways:
        sets = [name for name in TARGETS["scratch"] if not given.sets or name in given.sets]
        rows, runs = from_scratch(given.data, given.out, seeds, sets)
        on_world34 |= {"scratch": runs} if runs else {}
    for way, flags in {"transfer": TRANSFER, "finetune": FINETUNE}.items():
        for name in TARGETS[way] if way in ways else ():
            if given.sets and name not in given.sets:
                continue
            folder = folder_of(given.data, given.out, name)
            runs = [train(folder, given.out / f"{way}-{name}", seed, flags) for seed in seeds]
            found, shown = [read(run) for run in runs], "`" + " ".join(flags) + "`"
            rows.append(row(way, name, found, shown, target=TARGETS[way][name]))
            if name == "world34":
                on_world34[way] = runs
                found = [on_other_sources(given.data, run) for run in runs]
                where = "six of its landmarks, other sources"
                rows.append(row(way, where, found, "the runs on world34", target=ELSEWHERE.get(way)))
    header = [
        "way",
        "data",
        "test accuracy, mean",
        "of each seed",
        "95 % interval",
        "asked",
        "",
        "minutes",
        "flags of `landmarks train`",
    ]
    notes = [
        "Means over seeds, which differ in split, initial weights and order of the images. "
        "The minutes are of the whole run, of the seed that took the fewest: other work on the machine slows the "
        "others. Decoded pictures and embeddings that an earlier run has cached are not made again.",
        "From scratch training starts with runs on several sets together, COMMON: world34, world124, landmarks10 "
        "and monuments49. Their minutes count. What world158, landmarks10 and monuments49 have is what the "
        "last of these runs reaches, counted among all 217 classes.",
        "From scratch no pretrained weights are used; transfer and fine-tuning use EfficientNet-Lite0 with its "
        "ImageNet weights.",
        "Weights are chosen on validation pictures split off `train`; `test` is read once, at the end.",
    ]
    body = table(header, rows) + "\n\n" + " ".join(notes)
    if on_world34:
        body += "\n\n## World34 by source\n\n" + by_source(on_world34)
    words = [
        "python benchmarks/accuracy.py DATA",
        f"--seeds {given.seeds}",
        *(["--only", *ways] if given.only else []),
        *(["--sets", *given.sets] if given.sets else []),
    ]
    name = "-".join(["accuracy", *(given.only or []), *(given.sets or [])])
    record(name, "Accuracy", " ".join(words), body, ["torch", "timm", "onnxruntime"])


if __name__ == "__main__":
    main()
