"""Measures the prototype head at the size of Google's six landmark classifiers, with synthetic prototypes.

    python benchmarks/prototypes.py [--queries 200]

Prints and records CPU milliseconds per photo, memory, cold start, and how often the best name is that of float32.
The names and their numbers of prototypes are made: 60,178 centres at random, and prototypes near them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import record, table

ROWS, NAMES, WIDTH = 472_715, 60_178, 64
SPREAD = 0.08


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.sort(np.concatenate([np.arange(NAMES), rng.integers(0, NAMES, ROWS - NAMES)]))
    centres = unit(rng.standard_normal((NAMES, WIDTH), dtype=np.float32))
    noise = SPREAD * rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    return unit(centres[labels] + noise), labels


def cold(folder: Path) -> None:
    """In a fresh process: load, answer one embedding, print time and memory."""
    began, cpu = time.perf_counter(), time.process_time()
    from landmarks.model.heads import load_head

    before = resident()
    head = load_head(folder, classes=NAMES)
    head.cosines(unit(np.ones((1, WIDTH))))
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    print(f"{took:.2f} s ({spent:.2f} s CPU); memory {before:.0f} MB before, {resident():.0f} MB after")


def resident() -> float:
    """Megabytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cold", type=Path)
    arguments = parser.parse_args()
    if arguments.cold:
        cold(arguments.cold)
        return
    from landmarks.model.folder import HEAD_FILES
    from landmarks.model.heads import load_head
    from landmarks.model.importing.prototypes import write_head

    prototypes, labels = made()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_head(folder, [prototypes], [labels], NAMES)
        rows = [["size", f"{sum((folder / file).stat().st_size for file in HEAD_FILES) / 1e6:.1f} MB"]]
        words = [sys.executable, __file__, "--cold", name]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        rows.append(["cold start of a process", told])
        head = load_head(folder, classes=NAMES)
        rng = np.random.default_rng(1)
        some = prototypes[rng.integers(0, ROWS, arguments.queries)]
        noise = rng.standard_normal(some.shape, dtype=np.float32)
        for title, queries in {
            "near a prototype": unit(some + SPREAD * noise),
            "far from all": unit(noise),
        }.items():
            same, spent = 0, []
            for query in queries:
                began = time.process_time()
                found = head.cosines(query[None])[0]
                spent.append(1e3 * (time.process_time() - began))
                same += int(found.argmax() == np.maximum.reduceat(prototypes @ query, head.starts).argmax())
            rows.append(
                [
                    title,
                    f"{np.median(spent):.1f} ms CPU per photo (best {min(spent):.1f}), "
                    f"best name as float32 in {same / len(queries):.1%} of {len(queries)}",
                ]
            )
    body = table(["measured", "value"], rows)
    body += f"\n\n{ROWS:,} made prototypes of {WIDTH} numbers under {NAMES:,} names; one thread."
    command = f"python benchmarks/prototypes.py --queries {arguments.queries}"
    record("prototypes", "The head of Google's classifiers at its full size", command, body, ["numpy"])


if __name__ == "__main__":
    main()
