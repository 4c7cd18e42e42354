"""Start-up of training on a large set: from a folder of files, and from shards.

Run `python benchmarks/shards.py`. It makes tiny images (32 x 32 JPEG of noise, 1,000 different ones, linked under
many names), packs them with `landmarks pack`, and starts training in a separate process each time, up to the first
batch:

- folder, first time: lists the files and decodes them all into the cache;
- folder, again: lists the files and opens the cache;
- shards, first time: reads the index, decodes the images beside the shards, opens one shard;
- shards, again: the same, with those images in the cache.

Time is wall time after the imports; memory is the peak of the process minus its memory after the imports,
including pages of mapped files.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from record import record, table

START = """
import json, resource, sys, time
from pathlib import Path
from landmarks.training.data.loaders import make_loaders, prepare_data
from landmarks.training.config.settings import AugmentSettings, DataSettings
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, started = peak(), time.perf_counter()
settings = DataSettings(batch_size=64)
data = prepare_data(Path(sys.argv[1]), settings, cache=Path(sys.argv[2]))
loader = make_loaders(data, settings, AugmentSettings(names=(), sizes=(32,)))["train"]
pictures, labels = next(iter(loader))
print(json.dumps({"seconds": time.perf_counter() - started, "mib": peak() - before, "train": data.train_size}))
"""
DIFFERENT = 1000
CLASSES = 100


def make(folder: Path, count: int) -> None:
    """Link `count` images into CLASSES folders."""
    rng = np.random.default_rng(0)
    originals = []
    for number in range(DIFFERENT):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "JPEG")
        originals.append(folder / f"{number}.original")
        originals[-1].write_bytes(content.getvalue())
    for label in range(CLASSES):
        (folder / "data" / f"{label:03d}").mkdir(parents=True)
    for number in range(count):
        os.link(originals[number % DIFFERENT], folder / "data" / f"{number % CLASSES:03d}" / f"{number:07d}.jpg")


def start(data: Path, cache: Path) -> dict[str, float]:
    """Start training in a separate process."""
    words = [sys.executable, "-c", START, str(data), str(cache)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="50000,100000,200000", help="pictures, with commas between")
    given = parser.parse_args()
    rows = []
    for count in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            make(folder, count)
            began = time.perf_counter()
            words = [sys.executable, "-m", "landmarks", "pack", "data", "shards", "--valid-size", "0.01"]
            subprocess.run(words, check=True, cwd=folder, capture_output=True)
            packing = time.perf_counter() - began
            for name in ("data", "shards"):
                for when in ("first", "again"):
                    figures = start(folder / name, folder / f"cache-{name}")
                    kind = "folder" if name == "data" else "shards"
                    row = [f"{count:,}", f"{kind}, {when}", f"{figures['seconds']:.1f}", f"{figures['mib']:.0f}"]
                    rows.append([*row, f"{packing:.0f}" if name == "shards" and when == "first" else ""])
    record(
        "shards",
        "Start of a training on a large set",
        "python benchmarks/shards.py"
        + (f" --sizes {given.sizes}" if given.sizes != "50000,100000,200000" else ""),
        table(
            ["pictures", "start from", "seconds to the first batch", "MiB above the imports", "packed in s"], rows
        )
        + "\n\nThe pictures are in the cache of the system's disk, so a real disk makes the folder slower still.",
        ["torch", "pillow"],
    )


if __name__ == "__main__":
    main()
