"""Makes the bundled recogniser: a fine-tuned backbone, and a head that also knows photos of anything else.

Run `python benchmarks/bundle.py DATA --runs RUNS --out MODEL`, MODEL being `src/landmarks/model/bundled/world34`
for the one that is bundled. It takes a quarter of an hour.

What is not a landmark of world34 is the class `background` of the head (outlier exposure: Hendrycks, Mazeika and
Dietterich 2019, https://arxiv.org/abs/1812.04606): a quarter of `negatives`, and training pictures of other
buildings from landmarks10 and monuments49, so that the head learns that not every dome is the Taj Mahal. Fine-
tuning the backbone on them too was tried: it tagged fewer landmarks rightly at the same rate of false tags. The
threshold is chosen on another quarter of `negatives`; the other half, and `negatives_buildings`, stay unseen and
are what `benchmarks/unknown.py` measures false tags on.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

BACKGROUND = "background"
"""The class of pictures without a landmark; it is never a tag."""

OTHERS = ("landmarks10", "monuments49")
SHARED_CLASSES = ("01.colosseum",)
"""Classes of the others that world34 has too."""

OTHERS_A_CLASS = 12


def halves(data: Path) -> tuple[list[Path], list[Path]]:
    """The negatives for training (the even ones) and choosing (the odd ones), and those for showing."""
    pictures = sorted((data / "negatives").glob("*.jpg"))
    random.Random(0).shuffle(pictures)
    return pictures[::2], pictures[1::2]


def other_buildings(data: Path) -> list[Path]:
    """A few training pictures of each landmark that world34 does not have."""
    chosen = []
    for name in OTHERS:
        for folder in sorted((data / name / "train").iterdir()):
            if folder.name not in SHARED_CLASSES:
                pictures = sorted(folder.glob("*.jpg"))
                chosen += random.Random(folder.name).sample(pictures, min(OTHERS_A_CLASS, len(pictures)))
    return chosen


def link_world34(data: Path, folder: Path) -> None:
    """World34 with one more class, as links."""
    first, shown = halves(data)
    links = {folder / "choosing" / source.name: source for source in first[1::2]}
    for split, negatives in (("train", [*first[::2], *other_buildings(data)]), ("test", shown)):
        links |= {folder / split / source.name: source for source in (data / "world34" / split).iterdir()}
        links |= {folder / split / BACKGROUND / source.name: source for source in negatives}
    for link, source in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(source.resolve())
    if not (folder / "manifest.csv").exists():
        (folder / "manifest.csv").symlink_to((data / "world34" / "manifest.csv").resolve())


def train(data: Path, out: Path, *flags: str) -> None:
    if not (out / "metrics_test.json").is_file():
        command = ["landmarks", "train", str(data), "--model", "transfer", "--out", str(out), *flags]
        subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/bundle"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    backbone, run = given.runs / "finetune", given.runs / "head-background"
    folder = given.runs / "world34-background"
    link_world34(given.data, folder)
    train(given.data / "world34", backbone, "--unfreeze")
    train(folder, run, "--init", str(backbone))
    notes = Path(__file__).parents[1] / "docs" / "world34-notes.md"
    export = ["landmarks", "export", str(run), "--out", str(given.out), "--name", "world34", "--no-torchscript"]
    subprocess.run([*export, "--notes", str(notes), "--negatives", str(folder / "choosing")], check=True)


if __name__ == "__main__":
    main()
