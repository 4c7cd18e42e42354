"""A million vectors: the table of `landmarks index` against FAISS, exact and with an inverted file, in one run.

Run `pip install faiss-cpu`, then `python benchmarks/ann.py --folder SCRATCH`. It makes 1,000,000 vectors of 256
dimensions from a seed: points around 20,000 centres, which are themselves around 200, all of unit length, just as
photos cluster around landmarks and landmarks around kinds. The queries are other points from the same
distribution. Each engine builds its index and answers calls of 1,000 queries for 10 neighbours; recall is the
fraction of the exact result (FAISS Flat) that it finds. All queries run twice: the first time LanceDB still reads
cells from disk, the second time they are in memory, where FAISS has all of them from the start. Each engine runs
in a separate process, whose peak memory is shown. The table is printed and written to benchmarks/results/ann.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import record, table

Vectors = NDArray[np.float32]
Found = NDArray[np.int64]
DIMENSIONS, CENTRES, KINDS = 256, 20_000, 200
CALL, NEIGHBOURS = 1_000, 10
PROBES = (1, 2, 4, 8, 16)  # asked in this order, so only the first has all cells to read
NOISE = 1.5  # of photos around their centre, against 1 of centres around their kind


def draw(count: int, seed: int) -> Vectors:
    """Points around centres around kinds, of unit length."""
    rng = np.random.default_rng(0)  # the centres are the same for photos and queries
    kinds = rng.normal(size=(KINDS, DIMENSIONS)).astype(np.float32)
    centres = kinds[rng.integers(KINDS, size=CENTRES)] + rng.normal(size=(CENTRES, DIMENSIONS)).astype(np.float32)
    rng = np.random.default_rng(seed)
    points = np.empty((count, DIMENSIONS), dtype=np.float32)
    for start in range(0, count, 50_000):
        rows = points[start : start + 50_000]
        rows[:] = NOISE * rng.standard_normal(rows.shape, dtype=np.float32)
        rows += centres[rng.integers(CENTRES, size=len(rows))]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return points


def lance(folder: Path, photos: Vectors) -> Callable[[int], Callable[[Vectors], Found]]:
    """The table that `landmarks index` writes, through the code that it uses."""
    from landmarks.search.table import Header, PhotoTable, Row

    built = PhotoTable.create(str(folder / "lance"), Header("drawn", str(folder), DIMENSIONS))
    for start in range(0, len(photos), 50_000):
        page = photos[start : start + 50_000]
        rows = [Row(f"{start + place:07d}.jpg", 1, 1, (), vector) for place, vector in enumerate(page)]
        built.put(rows)
    built.settle()

    def ask(probes: int) -> Callable[[Vectors], Found]:
        def answer(queries: Vectors) -> Found:
            found = np.full((len(queries), NEIGHBOURS), -1)  # cells may hold fewer than are asked for
            for row, hits in zip(found, built.nearest(queries, NEIGHBOURS, probes=probes), strict=True):
                row[: len(hits)] = [int(hit.photo[:7]) for hit in hits]
            return found

        return answer

    return ask


def faiss_flat(_folder: Path, photos: Vectors) -> Callable[[int], Callable[[Vectors], Found]]:
    import faiss

    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(photos)
    return lambda _probes: lambda queries: index.search(queries, NEIGHBOURS)[1]


def faiss_ivf(_folder: Path, photos: Vectors) -> Callable[[int], Callable[[Vectors], Found]]:
    import faiss

    cells = round(math.sqrt(len(photos)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, cells, faiss.METRIC_INNER_PRODUCT)
    index.train(photos[:: max(1, len(photos) // (cells * 64))])
    index.add(photos)

    def ask(probes: int) -> Callable[[Vectors], Found]:
        def answer(queries: Vectors) -> Found:
            index.nprobe = probes
            return index.search(queries, NEIGHBOURS)[1]

        return answer

    return ask


ENGINES = {"FAISS Flat": faiss_flat, "FAISS IVF": faiss_ivf, "landmarks (LanceDB)": lance}


def measure(engine: str, folder: Path, count: int, queries: int) -> None:
    """In a separate process: build, query, and print one JSON line per number of probes."""
    photos, asked = draw(count, 1), draw(queries, 2)
    begun = time.perf_counter()
    ask = ENGINES[engine](folder, photos)
    built = time.perf_counter() - begun
    exact = folder / "exact.npy"
    for probes in (0,) if engine == "FAISS Flat" else PROBES:
        answer = ask(probes)
        rates = []
        for _ in range(2):
            begun = time.perf_counter()
            found = np.concatenate([answer(asked[start : start + CALL]) for start in range(0, queries, CALL)])
            rates.append(queries / (time.perf_counter() - begun))
        if engine == "FAISS Flat":
            np.save(exact, found)
        truth = np.load(exact)
        recall = np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(found, truth, strict=True)])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = {"probes": probes, "built": built, "memory": memory, "recall": float(recall), "rates": rates}
        print(json.dumps(row), flush=True)


def rows(folder: Path, count: int, queries: int) -> Iterator[list[str]]:
    for engine in ENGINES:
        words = [sys.executable, __file__, "--folder", str(folder), "--engine", engine]
        words += ["--count", str(count), "--queries", str(queries)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        for line in done.stdout.splitlines():
            got = json.loads(line)
            probes = "all" if got["probes"] == 0 else str(got["probes"])
            yield [
                *(engine, probes, f"{got['recall']:.4f}", *(f"{rate:,.0f}" for rate in got["rates"])),
                *(f"{got['built']:.0f}", f"{got['memory']:.1f}"),
            ]
            print(" | ".join([engine, line]), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/ann"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--engine", choices=tuple(ENGINES))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.engine:
        measure(given.engine, given.folder, given.count, given.queries)
        return
    header = [
        "engine",
        "cells probed",
        "recall@10",
        "queries/s, first time",
        "queries/s, again",
        "build, s",
        "largest memory, GiB",
    ]
    body = table(header, list(rows(given.folder, given.count, given.queries)))
    size = sum(file.stat().st_size for file in (given.folder / "lance").rglob("*") if file.is_file()) / 2**30
    threads = os.environ.get("OMP_NUM_THREADS", "one per core")
    body += (
        f"\n\n{given.count:,} vectors of {DIMENSIONS} dimensions around {CENTRES:,} centres, {given.queries:,} "
        f"queries in calls of {CALL:,}. Memory is that of the whole process, of which the vectors themselves take "
        f"{given.count * DIMENSIONS * 4 / 2**30:.1f} GiB before any index is made of them. The table of LanceDB "
        f"takes {size:.1f} GiB of disk. Threads of FAISS: {threads}; LanceDB takes one per core."
    )
    shutil.rmtree(given.folder / "lance")
    record("ann", "A million vectors", "python benchmarks/ann.py", body, ["lancedb", "faiss-cpu", "numpy"])


if __name__ == "__main__":
    main()
