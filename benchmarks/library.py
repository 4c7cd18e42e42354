"""A large library: killed while it is tagged and undone, timed, and disturbed between a write and its undo.

Run `python benchmarks/library.py`; `--baseline SRC` also times the sources of another checkout, in turn. The
photos are tiny and the tagger costs nothing: only the work of the library itself is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from library_worker import run
from PIL import Image
from record import RESULTS, record, table

from landmarks.library.library import LEDGER, Library
from landmarks.metadata.entries import Entries
from landmarks.metadata.xmp import XmpPacket

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("library_worker.py")
FOLDER = 200
"""Photos per folder."""

Tree = dict[str, tuple[str, int, int]]
"""Digest, permissions and, for photos, time of each file of a library, by its relative path."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the three proofs; returns 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20_000, help="of the library that is killed")
    parser.add_argument("--kills", type=int, default=20, help="while tagging, and again while undoing")
    parser.add_argument("--timed", type=int, default=3000, help="photos of the library that is timed")
    parser.add_argument("--rounds", type=int, default=3, help="of the timing")
    parser.add_argument("--baseline", type=Path, help="src of another checkout")
    parser.add_argument("--seeds", type=int, default=100, help="of random moves")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="landmarks-library-") as name:
        folder = Path(name)
        kills = killed(folder, given.photos, given.kills)
        speed = timed(folder, given.timed, given.rounds, given.baseline)
        moves = moved(folder, given.seeds)
    body = "\n\n".join(
        [
            "## Killed with SIGKILL at random moments",
            table(
                ["while", "photos", "killed", "files compared", "different", "changes in place", "seconds"], kills
            ),
            "Different: files whose content, permissions or (photos only) time is not that of an undisturbed run; "
            "after undo, that of before. Every tenth photo had a sidecar. Changes in place: those of the ledger.",
            f"## CPU time per photo, {given.timed} photos",
            table(["sources", "tag", "tag again", "undo"], speed),
            f"Milliseconds of one process, median of {given.rounds} rounds in turn (smallest - largest).",
            "## Moves, renames, swaps, copies and deletions between a write and its undo",
            table(["seeds", "first", "failed", "seconds"], [moves]),
            "The property of `tests/unit/test_moves.py`, with seeds that the tests do not run: no byte of the "
            'user\'s is lost, and no "restored" is false.',
        ]
    )
    command = "python benchmarks/library.py" + (" --baseline SRC" if given.baseline else "")
    record("library", "A large library", command, body, folders=[given.out])
    wrong = [row[4] for row in kills] + [row[5] for row in kills if row[0] == "undoing"] + [moves[2]]
    return int(any(wrong))


def make(root: Path, count: int) -> None:
    """Make a library of tiny photos, all different; every tenth has a sidecar of the user's."""
    rng = np.random.default_rng(0)
    packet = XmpPacket()
    packet.add(Entries(keywords=("Holiday",)))
    for number in range(count):
        photo = root / f"{number // FOLDER:03d}" / f"{number:06d}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        buffer = BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
        photo.write_bytes(buffer.getvalue())
        if number % 10 == 0:
            photo.with_name(photo.name + ".xmp").write_bytes(packet.to_bytes())


def tree(root: Path) -> Tree:
    """Return what is in a library, without its ledger."""
    found: Tree = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != LEDGER.parts[0]]
        for name in names:
            path = Path(folder, name)
            status, digest = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
            times = 0 if path.suffix == ".xmp" else status.st_mtime_ns
            found[str(path.relative_to(root))] = (digest, status.st_mode, times)
    return found


def different(one: Tree, other: Tree) -> int:
    """Count the files that are not the same in both."""
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def start(root: Path, what: str, sources: Path = ROOT / "src") -> subprocess.Popen[str]:
    """Start the worker with the sources of this or another checkout."""
    environment = {**os.environ, "PYTHONPATH": str(sources)}
    command = [sys.executable, str(WORKER), str(root), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def killed(folder: Path, count: int, kills: int) -> list[list[object]]:
    """Tag and undo a library while both are killed again and again; returns a row of the table for each."""
    root, reference = folder / "killed", folder / "undisturbed"
    make(root, count)
    before = tree(root)
    shutil.copytree(root, reference)
    deque(run(reference, "tag"), maxlen=0)
    tagged = tree(reference)
    rows: list[list[object]] = []
    for what, word, expected in (("tag", "tagging", tagged), ("undo", "undoing", before)):
        started = time.perf_counter()
        done = kill_at_random(root, what, count, kills)
        deque(run(root, what), maxlen=0)
        seconds = f"{time.perf_counter() - started:.0f}"
        with Library(root) as library:
            standing = sum(row.standing for row in library.runs())
        wrong = different(tree(root), expected)
        rows.append([word, count, done, len(expected), wrong, standing, seconds])
        print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def kill_at_random(root: Path, what: str, count: int, kills: int) -> int:
    """Kill a run `kills` times, each time some photos further on; returns how often it was still at work.

    The kills are spread over about three quarters of the library; the last run, left alone, does the rest.
    """
    chance = random.Random(0)
    done = 0
    for _ in range(kills):
        with start(root, what) as worker:
            assert worker.stdout is not None
            for _ in range(chance.randrange(max(1, 3 * count // (2 * kills + 2)))):
                if not worker.stdout.readline():
                    break
            time.sleep(chance.random() * 0.03)  # anywhere in the work on a batch
            worker.send_signal(signal.SIGKILL)
        done += worker.returncode == -signal.SIGKILL
    return done


def timed(folder: Path, count: int, rounds: int, baseline: Path | None) -> list[list[str]]:
    """Time the sources in turn; returns a row of the table for each."""
    sources = {"this version": ROOT / "src"} | ({"baseline": baseline.resolve()} if baseline else {})
    measured: dict[str, list[list[float]]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, path in sources.items():
            root = folder / "timed"
            make(root, count)
            with start(root, "timed", path) as worker:
                measured[name].append([float(line) / count * 1000 for line in worker.stdout or ()])
            if worker.returncode != 0:
                raise SystemExit(f"{name} ended with status {worker.returncode}")
            shutil.rmtree(root)
    return [
        [
            name,
            *(
                f"{statistics.median(one):.2f} ({min(one):.2f} - {max(one):.2f})"
                for one in zip(*times, strict=True)
            ),
        ]
        for name, times in measured.items()
    ]


def moved(folder: Path, seeds: int) -> list[object]:
    """Disturb small libraries at random, once per seed; returns a row of the table."""
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "unit")]
    from test_moves import SEEDS
    from test_moves import test_whatever_is_moved_no_byte_of_the_users_is_lost as disturb

    started, failed = time.perf_counter(), 0
    for seed in range(SEEDS, SEEDS + seeds):
        root = folder / f"seed-{seed}"
        root.mkdir()
        try:
            disturb(root, seed)
        except AssertionError as error:
            failed += 1
            print(f"seed {seed}: {error}", file=sys.stderr)
        shutil.rmtree(root)
    return [seeds, SEEDS, failed, f"{time.perf_counter() - started:.0f}"]


if __name__ == "__main__":
    raise SystemExit(main())
