"""What Ray costs: `landmarks cluster` against `landmarks tag` on the same photos with as many processes.

Run `python benchmarks/cluster.py PHOTOS`, PHOTOS being a folder of at least a few hundred; they are linked under
many names up to `--photos`. Both commands take their turns `--rounds` times. Beside the whole command (with the
start of Python, of Ray and of the processes) the table shows photos a second between the first and the last
result, which is what counts for a million photos.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record, table

from landmarks.files import find_photos


def link(photos: list[Path], folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)]
        (folder / f"{number:06d}{photo.suffix.lower()}").symlink_to(photo.resolve())


def tag(folder: Path, processes: int) -> tuple[float, float]:
    """Run `landmarks tag`; returns the seconds in all, and those from the first to the last result."""
    words = [sys.executable, "-m", "landmarks", "tag", str(folder), "--jsonl", "--processes", str(processes)]
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        times = [time.perf_counter() for _ in process.stdout]
    return time.perf_counter() - began, times[-1] - times[0]


def cluster(folder: Path, out: Path, processes: int, part_size: int) -> tuple[float, float]:
    """Run `landmarks cluster`; returns likewise, from the beginning of the first part to the end of the last."""
    words = [sys.executable, "-m", "landmarks", "cluster", str(folder), str(out), "--workers", str(processes)]
    began = time.perf_counter()
    subprocess.run([*words, "--part-size", str(part_size)], check=True, capture_output=True)
    took = time.perf_counter() - began
    ends = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    # The first parts, one a process, have been worked on since before their end: the others tell the speed.
    rest = ends[processes - 1 :]
    return took, (rest[-1] - rest[0]) * len(ends) / (len(ends) - processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--part-size", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {"landmarks tag": [], "landmarks cluster": []}
    with tempfile.TemporaryDirectory() as place:
        photos, out = Path(place) / "photos", Path(place) / "out"
        link(find_photos([given.folder]), photos, given.photos)
        for _ in range(given.rounds):
            figures["landmarks tag"].append(tag(photos, given.processes))
            figures["landmarks cluster"].append(cluster(photos, out, given.processes, given.part_size))
            shutil.rmtree(out)
    rows = []
    for name, values in figures.items():
        whole, steady = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append([name, f"{whole:.1f}", f"{given.photos / whole:.1f}", f"{given.photos / steady:.1f}"])
    pairs = list(zip(figures["landmarks tag"], figures["landmarks cluster"], strict=True))
    whole, steady = (statistics.median(c[i] / t[i] - 1 for t, c in pairs) for i in (0, 1))
    body = table(["command", "s, whole command", "photos/s, whole", "photos/s, once it runs"], rows)
    body += f"\n\nOverhead of the cluster: {whole:+.0%} of the whole command, {steady:+.0%} once it runs."
    body += f" {given.photos:,} photos, {given.processes} processes, parts of {given.part_size}, median of "
    body += f"{given.rounds} rounds."
    options = (
        "" if given.photos == 5000 and given.rounds == 3 else f" --photos {given.photos} --rounds {given.rounds}"
    )
    record(
        "cluster",
        "Tagging on a cluster",
        f"python benchmarks/cluster.py PHOTOS{options}",
        body,
        ["ray", "onnxruntime"],
    )


if __name__ == "__main__":
    main()
