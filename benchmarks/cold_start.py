"""Wall time and peak memory of `landmarks predict` on one photo, cold: a new process each time.

Run `python benchmarks/cold_start.py MODEL PHOTO`; the `landmarks` measured is that of the same environment.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from record import record, table


def once(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    script = str(Path(sys.executable).with_name("landmarks"))
    commands = {
        "landmarks tag": [script, "tag", given.photo, "--model", given.model],
        "landmarks predict": [script, "predict", given.photo, "--model", given.model],
        "landmarks --help": [script, "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    rows = []
    for name, command in commands.items():
        once(command)
        seconds, memory = zip(*(once(command) for _ in range(given.rounds)), strict=True)
        spread = f"{min(seconds):.2f} - {max(seconds):.2f}"
        rows.append([f"`{name}`", f"{statistics.median(seconds):.2f}", spread, f"{max(memory):.0f}"])
    body = table(["command", "wall seconds, median", "from - to", "peak memory, MiB"], rows)
    command = "python benchmarks/cold_start.py MODEL PHOTO"
    record("cold_start", "Cold start", command, body, ["onnxruntime", "pillow"])


if __name__ == "__main__":
    main()
