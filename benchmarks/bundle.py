"""Makes the bundled recogniser: the fine-tuned backbone of world34, and a head that also knows photos of nothing.

Run `python benchmarks/accuracy.py DATA --out RUNS` first, then `python benchmarks/bundle.py DATA --runs RUNS --out
MODEL`, MODEL being `src/landmarks/assets/world34` for the one that is bundled.

The background of the head is a quarter of `negatives`, and the threshold is chosen on another quarter; the other
half, and `negatives_buildings`, stay unseen and are what `benchmarks/unknown.py` measures false tags on.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

BACKGROUND = "background"
"""The class of pictures without a landmark; it is never a tag."""


def halves(data: Path) -> tuple[list[Path], list[Path]]:
    """The negatives for training (the even ones) and choosing (the odd ones), and those for showing."""
    pictures = sorted((data / "negatives").glob("*.jpg"))
    random.Random(0).shuffle(pictures)
    return pictures[::2], pictures[1::2]


def link_world34(data: Path, folder: Path) -> None:
    """World34 with one more class, as links."""
    first, shown = halves(data)
    links = {folder / "choosing" / source.name: source for source in first[1::2]}
    for split, negatives in (("train", first[::2]), ("test", shown)):
        links |= {folder / split / source.name: source for source in (data / "world34" / split).iterdir()}
        links |= {folder / split / BACKGROUND / source.name: source for source in negatives}
    for link, source in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(source.resolve())
    if not (folder / "manifest.csv").exists():
        (folder / "manifest.csv").symlink_to((data / "world34" / "manifest.csv").resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folder, run = given.runs / "world34-background", given.runs / "bundle"
    link_world34(given.data, folder)
    init = str(given.runs / "finetune-world34")
    if not (run / "metrics_test.json").is_file():
        train = ["landmarks", "train", str(folder), "--model", "transfer", "--init", init, "--out", str(run)]
        subprocess.run(train, check=True, stdout=sys.stderr)
    notes = Path(__file__).parents[1] / "docs" / "world34-notes.md"
    export = ["landmarks", "export", str(run), "--out", str(given.out), "--name", "world34", "--no-torchscript"]
    subprocess.run([*export, "--notes", str(notes), "--negatives", str(folder / "choosing")], check=True)


if __name__ == "__main__":
    main()
