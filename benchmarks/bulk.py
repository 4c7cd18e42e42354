"""Photos/s of `landmarks tag` on many photos, compared with other tools and with the limit of the cores.

Run `python benchmarks/bulk.py --photos CACHE [--model MODEL]`. CACHE is a folder for the photos, which are
generated on the first run; MODEL is that of `landmarks tag`. The peers use TorchScript of the same architecture.
Ultralytics runs its classifier of the nearest size if `--ultralytics` names a Python that has it. The tools take
turns, each in separate processes, and the ratios are medians over the rounds. Run it alone: PyTorch with as many
threads as cores, as in the peers, collapses when something else uses the cores too.

Each tool has two speeds. Without its start: `landmarks tag` between two lines of its output, a peer once its
network is loaded and warm. The whole command: from the start of the process to its end, or for a peer to its last
photo, without its warm-up. The limit: one process per core that only decodes reaches D photos/s in total, one that
only runs the network M, and a photo needs both on the same cores, which makes 1 / (1/D + 1/M).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import truediv
from pathlib import Path

from photos import SIZES, make_photos
from record import record, table

from landmarks.files.checksums import sha256_file
from landmarks.model.folder import DEFAULT_MODEL, TORCHSCRIPT_FILE, find_model, read_info, write_info
from landmarks.tagging.workers import cores

PEERS = Path(__file__).with_name("peers.py")
COUNTS = {"800 x 600": 300, "12 MP": 60}
SKIPPED = {"800 x 600": 64, "12 MP": 16}
"""Lines of output before the measurement of the steady speed starts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="onnxruntime,openvino")
    parser.add_argument("--ultralytics", help="a Python that has ultralytics")
    given = parser.parse_args()
    model = find_model(given.model).resolve()
    script = torchscript(model, given.photos)
    rows = []
    for name, size in SIZES.items():
        folder = given.photos / name.replace(" ", "")
        make_photos(folder, COUNTS[name], size)
        ways = ways_of(name, folder, model, script, given)
        speeds: dict[str, list[Speed]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, run in ways.items():
                speeds[way].append(run())
                print(f"{name}: {way}: {speeds[way][-1]}", file=sys.stderr)
        for engine in given.engines.split(","):
            rows += rows_of(name, engine, speeds)
    info = read_info(model)
    header = ["photos", "way", "images/s without start", "from - to", "ours against it"]
    header += ["images/s, whole command", "from - to", "ours against it"]
    body = table(header, rows)
    body += (
        f"\n\n`landmarks tag` with {info.name}, {info.architecture}, {info.precision}, on {cores()} cores; "
        f"{COUNTS['800 x 600']} photos of 800 x 600 and {COUNTS['12 MP']} of 12 megapixels, {given.rounds} rounds "
        "in turns, all figures medians. A number below 1 beside a limit is the share of it that we reach."
    )
    if not given.ultralytics:
        body += " ultralytics was not given."
    command = "python benchmarks/bulk.py --photos CACHE"
    command += " --ultralytics PYTHON" if given.ultralytics else ""
    command += "" if given.model == parser.get_default("model") else " --model MODEL"
    record("bulk", "Bulk tagging", command, body, ["torch", "torchvision", "onnxruntime", "pillow"])


def torchscript(model: Path, cache: Path) -> Path:
    """A folder with the TorchScript of the architecture of a model, for the peers."""
    from landmarks.training.export.predictor import make_predictor, save_torchscript
    from landmarks.training.models.transfer import get_model_transfer_learning

    info, folder = read_info(model), cache / "torchscript"
    folder.mkdir(parents=True, exist_ok=True)
    network, contract = get_model_transfer_learning(info.architecture, len(info.classes))
    save_torchscript(make_predictor(network, info.classes, contract), folder / TORCHSCRIPT_FILE)
    files = {TORCHSCRIPT_FILE: sha256_file(folder / TORCHSCRIPT_FILE)}
    write_info(folder, replace(info, preprocessing=contract, precision="fp32", files=files))
    return folder


@dataclass(frozen=True)
class Speed:
    """Photos/s without the start of the processes, and of the whole command."""

    steady: float
    whole: float


def ways_of(
    name: str, folder: Path, model: Path, script: Path, given: argparse.Namespace
) -> dict[str, Callable[[], Speed]]:
    """Every tool with a function that runs it once."""
    ways: dict[str, Callable[[], Speed]] = {}
    for engine in given.engines.split(","):
        ways[f"tag, {engine}"] = lambda engine=engine: tag(folder, model, engine, SKIPPED[name])
        ways[f"model alone, {engine}"] = lambda engine=engine: peers(cores(), "model", folder, model, engine)
    ways["decode alone"] = lambda: peers(cores(), "decode", folder, model)
    ways["(a) Pillow + TorchScript, one by one"] = lambda: peers(1, "pillow-torchscript", folder, script)
    ways["(b) DataLoader, 2 workers, batch 32"] = lambda: peers(1, "dataloader", folder, script)
    if given.ultralytics:
        ways["(c) ultralytics"] = lambda: peers(1, "ultralytics", folder, script, python=given.ultralytics)
    return ways


def tag(folder: Path, model: Path, engine: str, skipped: int) -> Speed:
    """Run `landmarks tag`; steady is its speed between the line `skipped` of its output and the last."""
    words = [sys.executable, "-m", "landmarks", "tag", folder, "--model", model, "--engine", engine, "--jsonl"]
    started = time.perf_counter()
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        times = [time.perf_counter() for _ in process.stdout]
    whole = time.perf_counter() - started
    if process.returncode != 0:
        raise SystemExit(f"landmarks tag ended with status {process.returncode}")
    return Speed((len(times) - skipped) / (times[-1] - times[skipped - 1]), len(times) / whole)


def peers(count: int, way: str, folder: Path, *words: object, python: str = sys.executable) -> Speed:
    """Run `count` processes of a peer; one alone uses all cores by itself."""
    threads = str(1 if count > 1 else cores())
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    command = [python, str(PEERS), way, str(folder), *map(str, words)]
    begun = time.perf_counter()
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{' '.join(command)} failed")
    photos = len(list(folder.glob("*.jpg")))
    parts = []
    for text in said:
        steady, loaded = map(float, text.strip().splitlines()[-1].split())
        parts.append((steady, photos / (loaded - begun + photos / steady)))
    return Speed(*map(sum, zip(*parts, strict=True)))


def rows_of(name: str, engine: str, speeds: dict[str, list[Speed]]) -> list[list[str]]:
    """The rows of one engine: itself, the limits, the peers."""
    ours, alone = (speeds[f"{way}, {engine}"] for way in ("tag", "model alone"))
    limit = [
        Speed(1 / (1 / d.steady + 1 / m.steady), math.nan)
        for d, m in zip(speeds["decode alone"], alone, strict=True)
    ]
    shown = {
        f"**`landmarks tag`**, {engine}": ours,
        "model alone": alone,
        "decode alone": speeds["decode alone"],
        "limit of decode and model": limit,
        **{way: values for way, values in speeds.items() if way.startswith("(")},
    }
    rows = []
    for way, values in shown.items():
        row = [name, way]
        # The limits are of the cores; no whole command has them.
        for key in ("steady", "whole") if way.startswith(("**", "(")) else ("steady",):
            theirs = [getattr(value, key) for value in values]
            ratio = statistics.median(map(truediv, [getattr(value, key) for value in ours], theirs))
            row += [f"{statistics.median(theirs):.1f}", f"{min(theirs):.0f} - {max(theirs):.0f}", f"{ratio:.2f}"]
        rows.append(row + [""] * (8 - len(row)))
    return rows


if __name__ == "__main__":
    main()
