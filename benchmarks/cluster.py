"""The overhead of Ray: `landmarks cluster` and `landmarks tag` on the same photos with as many processes.

Run `python benchmarks/cluster.py FOLDER...`, each folder with photos of one kind, such as those that `bulk.py`
makes; they are linked under many names up to `--photos`. `landmarks cluster` runs twice: joining a running Ray, as
on a cluster, and starting its own. All take turns `--rounds` times. Besides the whole command (including the start
of Python, Ray and the processes), the table shows photos/s between the first and the last result, which is what
matters for a million photos.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from record import record, table

from landmarks.imaging.photos import find_photos

COMMANDS = ("landmarks tag", "landmarks cluster, a Ray that runs", "landmarks cluster, a Ray of its own")
PORT = 6399


def link(photos: list[Path], folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)]
        (folder / f"{number:06d}{photo.suffix.lower()}").symlink_to(photo.resolve())


def tag(folder: Path, processes: int) -> tuple[float, float]:
    """Run `landmarks tag`; returns the seconds in all, and those from the first to the last result."""
    words = [sys.executable, "-m", "landmarks", "tag", str(folder), "--jsonl", "--workers", str(processes)]
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        times = [time.perf_counter() for _ in process.stdout]
    return time.perf_counter() - began, times[-1] - times[0]


def cluster(folder: Path, out: Path, given: argparse.Namespace, address: str | None) -> tuple[float, float]:
    """Run `landmarks cluster`; returns likewise, from the beginning of the first part to the end of the last."""
    words = [sys.executable, "-m", "landmarks", "cluster", str(folder), str(out)]
    words += ["--workers", str(given.processes), "--part-size", str(given.part_size)]
    words += ["--address", address] if address else []
    began = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    took = time.perf_counter() - began
    ends = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    shutil.rmtree(out)
    # The first parts, one a process, have been worked on since before their end: the others tell the speed.
    rest = ends[given.processes - 1 :]
    return took, (rest[-1] - rest[0]) * len(ends) / (len(ends) - given.processes)


@contextmanager
def running_ray(processes: int) -> Iterator[str]:
    """Run a separate Ray; yields its address."""
    ray = str(Path(sys.executable).with_name("ray"))
    words = [ray, "start", "--head", "--port", str(PORT), "--num-cpus", str(processes)]
    subprocess.run([*words, "--include-dashboard=false", "--disable-usage-stats"], check=True, capture_output=True)
    try:
        time.sleep(10)  # its processes go on starting for a while
        yield f"127.0.0.1:{PORT}"
    finally:
        subprocess.run([ray, "stop"], check=True, capture_output=True)


def measure(folder: Path, given: argparse.Namespace) -> list[list[str]]:
    """The rows of one folder."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        photos, out = Path(place) / "photos", Path(place) / "out"
        link(find_photos([folder]), photos, given.photos)
        for _ in range(given.rounds):
            with running_ray(given.processes) as address:
                figures[COMMANDS[1]].append(cluster(photos, out, given, address))
            figures[COMMANDS[0]].append(tag(photos, given.processes))
            figures[COMMANDS[2]].append(cluster(photos, out, given, None))
    rows = []
    for name, values in figures.items():
        row = [folder.name, name]
        for place, seconds in enumerate(zip(*values, strict=True)):
            usual = [value[place] for value in figures[COMMANDS[0]]]
            over = statistics.median(mine / theirs - 1 for mine, theirs in zip(seconds, usual, strict=True))
            row += [f"{statistics.median(seconds):.1f}"] if place == 0 else []
            row += [
                f"{given.photos / statistics.median(seconds):.1f}",
                f"{over:+.0%}" if name != COMMANDS[0] else "",
            ]
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--part-size", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "token"  # as the Ray beside asks for
    rows = [row for folder in given.folders for row in measure(folder, given)]
    header = ["photos", "command", "s, whole command", "photos/s, whole", "overhead", "photos/s, once it runs"]
    body = table([*header, "overhead"], rows)
    body += f"\n\n{given.photos:,} photos, {given.processes} processes, parts of {given.part_size}, median of "
    body += f"{given.rounds} rounds in turns."
    usual = {"photos": 5000, "rounds": 3}
    options = [
        f" --{name} {getattr(given, name)}" for name, value in usual.items() if getattr(given, name) != value
    ]
    command = "python benchmarks/cluster.py FOLDER..." + "".join(options)
    record("cluster", "Tagging on a cluster", command, body, ["ray", "onnxruntime"])


if __name__ == "__main__":
    main()
