"""Memory of `landmarks tag --jsonl` over 20,000 photos: all processes together and the largest one, over time.

Run `python benchmarks/memory.py --photos CACHE`: a few hundred photos are generated on the first run and linked
under 20,000 names. It needs /proc (Linux). The proportional set size of each process is measured, which divides
shared memory; memory is flat if the last tenth of the run needs no more than the second tenth.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from photos import make_photos
from record import record, table

from landmarks.model.folder import DEFAULT_MODEL

SIZE = (320, 240)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--engine", default="onnxruntime")
    given = parser.parse_args()
    folder = linked(given.photos, given.count)
    words = ["-m", "landmarks", "tag", str(folder), "--model", given.model, "--engine", given.engine, "--jsonl"]
    samples: list[tuple[int, float, float]] = []
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        step = max(1, given.count // 200)
        done = 0
        for done, _ in enumerate(process.stdout, start=1):
            if done % step == 0 and done < given.count:
                each = [memory(number) for number in family(process.pid)]
                samples.append((done, sum(each), max(each)))
    seconds = time.perf_counter() - started
    if process.returncode != 0 or done != given.count:
        raise SystemExit(f"landmarks tag ended with status {process.returncode} after {done} photos")
    rows = []
    for tenth in range(10):
        part = [sample for sample in samples if tenth <= 10 * sample[0] / given.count < tenth + 1]
        cells = [max(sample[column] for sample in part) for column in (1, 2)]
        rows.append([f"{given.count * (tenth + 1) // 10:,}", *(f"{cell:.0f}" for cell in cells)])
    body = table(["photos up to", "all processes, peak MiB", "largest process, peak MiB"], rows)
    body += (
        f"\n\n{given.count:,} photos in {seconds:.0f} s ({given.count / seconds:.0f} images/s), {given.engine}."
    )
    record(
        "memory", "Memory over many photos", "python benchmarks/memory.py --photos CACHE", body, ["onnxruntime"]
    )


def linked(cache: Path, count: int) -> Path:
    """A folder of `count` names for a few hundred small photos."""
    made = make_photos(cache / "small", 200, SIZE)
    folder = cache / f"names-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = folder / f"{number:06d}.jpg"
        if not name.exists():
            os.link(made[number % len(made)], name)
    return folder


def family(process: int) -> list[int]:
    """A process and everything it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(below for child in children for below in family(int(child)))]


def memory(process: int) -> float:
    """Proportional set size in MiB; 0 for a process that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
