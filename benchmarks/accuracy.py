"""Accuracy and time of every way of training, on the data sets stored beside the project.

Run `python benchmarks/accuracy.py DATA --out RUNS`, DATA being the folder with world34, landmarks10 and
monuments49. Every number comes from `landmarks train` with the flags in the table; a finished run in RUNS is not
trained again. The table is printed and written to benchmarks/results/accuracy.md.

No run sees a test image before it is finished: the weights are selected on a validation split of `train`.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from record import record, table

from landmarks.training.metrics.evaluate import proportion

SETS = ("world34", "landmarks10", "monuments49")
TARGETS = {
    "scratch": {"world34": 0.90, "landmarks10": 0.80, "monuments49": 0.55},
    "transfer": {"world34": 0.95, "landmarks10": 0.90, "monuments49": 0.88},
    "finetune": {"world34": 0.965},
}
JOINT = ["--epochs", "48", "--sizes", "96,128,160", "--valid-size", "0.1"]
SCRATCH = ["--epochs", "24", "--sizes", "160,192", "--learning-rate", "1e-3", "--valid-size", "0.1"]
TRANSFER = ["--model", "transfer"]
FINETUNE = ["--model", "transfer", "--unfreeze"]


def link_together(data: Path, folder: Path) -> None:
    """Link the classes of all sets into one folder, to train on all of them together."""
    for name in SETS:
        for split in ("train", "test"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            for source in sorted((data / name / split).iterdir()):
                link = folder / split / source.name
                if not link.exists():
                    link.symlink_to(source.resolve(), target_is_directory=True)


def train(data: Path, out: Path, flags: list[str]) -> None:
    if not (out / "metrics_test.json").is_file():
        subprocess.run(["landmarks", "train", str(data), "--out", str(out), *flags], check=True, stdout=sys.stderr)


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


def row(way: str, name: str, found: dict[str, float], flags: str) -> list[str]:
    target = TARGETS[way][name]
    verdict = "reached" if found["value"] >= target else "**short**"
    interval = f"{found['low']:.3f} - {found['high']:.3f}"
    return [
        way,
        name,
        f"{found['value']:.4f}",
        interval,
        f"{target:.3f}",
        verdict,
        f"{found['minutes']:.1f}",
        flags,
    ]


def by_source(out: Path) -> str:
    """Accuracy on world34 by source: most classes have one source, so a model can learn the source."""
    runs = {way: out / f"{way}-world34" for way in TARGETS if (out / f"{way}-world34").is_dir()}
    sources = {}
    for way, run in runs.items():
        listed = json.loads((run / "metrics_test.json").read_text())["sources"]
        sources[way] = {item["source"]: item["accuracy"] for item in listed}
    rows = []
    for name in sorted({name for found in sources.values() for name in found}):
        cells = [found[name] for found in sources.values()]
        shown = [f"{cell['value']:.3f} ({cell['low']:.3f} - {cell['high']:.3f})" for cell in cells]
        rows.append([name, cells[0]["count"], *shown])
    return table(["source", "test pictures", *sources], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", choices=("scratch", "transfer", "finetune"), nargs="*")
    given = parser.parse_args()
    ways = given.only or ["scratch", "transfer", "finetune"]
    rows = []
    if "scratch" in ways:
        joint = given.out / "joint-data"
        link_together(given.data, joint)
        train(joint, given.out / "joint", JOINT)
        minutes = read(given.out / "joint")["minutes"]
        flags = [*SCRATCH, "--init", str(given.out / "joint")]
        train(given.data / "world34", given.out / "scratch-world34", flags)
        shown = "the common run, then `" + " ".join([*SCRATCH, "--init", "COMMON"]) + "`"
        rows.append(row("scratch", "world34", read(given.out / "scratch-world34", minutes), shown))
        for name in SETS:
            classes = {folder.name for folder in (given.data / name / "train").iterdir()}
            rows.append(row("scratch", name, read_part(given.out / "joint", classes), "the common run alone"))
    if "transfer" in ways:
        for name in SETS:
            train(given.data / name, given.out / f"transfer-{name}", TRANSFER)
            rows.append(
                row("transfer", name, read(given.out / f"transfer-{name}"), "`" + " ".join(TRANSFER) + "`")
            )
    if "finetune" in ways:
        train(given.data / "world34", given.out / "finetune-world34", FINETUNE)
        rows.append(
            row("finetune", "world34", read(given.out / "finetune-world34"), "`" + " ".join(FINETUNE) + "`")
        )
    header = [
        "way",
        "data",
        "test accuracy",
        "95 % interval",
        "asked",
        "",
        "minutes",
        "flags of `landmarks train`",
    ]
    notes = [
        "The minutes are of the whole run; decoded pictures and embeddings that an earlier run has cached are not "
        "made again.",
        f"The common run is `landmarks train` with `{' '.join(JOINT)}` on the train splits of the three sets "
        "together, 93 classes; what starts from it counts its minutes too, and its own answers are counted among "
        "all 93.",
        "From scratch no pretrained weights are used; transfer and fine-tuning use EfficientNet-Lite0 with its "
        "ImageNet weights.",
        "Weights are chosen on validation pictures split off `train`; `test` is read once, at the end.",
    ]
    body = table(header, rows) + "\n\n" + " ".join(notes)
    body += "\n\n## World34 by source\n\n" + by_source(given.out)
    record("accuracy", "Accuracy", "python benchmarks/accuracy.py DATA", body, ["torch", "timm", "onnxruntime"])


if __name__ == "__main__":
    main()
