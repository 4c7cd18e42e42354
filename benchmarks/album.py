"""`landmarks open` with 20,000 photos: first and second start, requests, memory, and how long the loop is held.

Run `python benchmarks/album.py`. The photos are made: 640 x 480 pixels, each different, with a camera's time and
position. The bundled model tags some of them; then the service is stopped and started again. tests/browser and the
page's own benchmark measure chromium; here only the service is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.cookiejar import CookieJar
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from record import RESULTS, record, table

FOLDER = 200
"""Photos per folder."""

PROBES = 400
"""Requests of each kind that are timed."""

STEP = 500
"""Photos of the step that is timed."""


class Page:
    """A client with a session."""

    def __init__(self, link: str) -> None:
        self.address = link.partition("/?")[0]
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())).open
        self._open(link).read()

    def get(self, path: str) -> bytes:
        """Return what is at a path."""
        content: bytes = self._open(self.address + path).read()
        return content

    def json(self, path: str) -> Any:
        """Return the JSON at a path."""
        return json.loads(self.get(path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the answer to a JSON object."""
        head = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.address + path, json.dumps(body).encode(), head)
        return json.loads(self._open(asked).read())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--tagged", type=int, default=500, help="photos that are tagged before the restart")
    parser.add_argument("--keep", type=Path, help="folder for the library, used again if it is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="landmarks-album-") as name:
        base = given.keep or Path(name)
        root = base / "library"
        make_library(root, given.photos)
        rows = [*first_start(base, root, given.photos, given.tagged), *second_start(base, root)]
    body = table(["measured", "value"], [list(row) for row in rows])
    load = f"Load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    command = f"python benchmarks/album.py --photos {given.photos} --tagged {given.tagged}"
    record(
        "album",
        "`landmarks open` with many photos",
        command,
        f"{body}\n\n{load}",
        ("starlette", "uvicorn"),
        folders=[given.out],
    )
    return 0


def make_library(root: Path, count: int) -> None:
    """Draw photos that differ in every byte; those that are there are kept."""
    random = np.random.default_rng(0)
    for number in range(count):
        photo = root / f"{number // FOLDER:03d}" / f"photo{number:05d}.jpg"
        if photo.exists():
            continue
        photo.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = f"Camera {number % 3}"
        day, rest = divmod(number, 600)
        taken = f"2024:{day // 28 % 12 + 1:02d}:{day % 28 + 1:02d} {8 + rest // 60:02d}:{rest % 60:02d}:00"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
        content = BytesIO()
        Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(content, "JPEG", exif=exif)
        photo.write_bytes(content.getvalue())


@contextmanager
def opened(base: Path, root: Path) -> Iterator[tuple[Page, int, float]]:
    """Run the service; yields a client, the process and when it was started."""
    with started(base, root) as (link, process, begun):
        yield Page(link), process, begun


@contextmanager
def started(base: Path, root: Path, port: int = 0) -> Iterator[tuple[str, int, float]]:
    """Run the service; yields its link, the process and when it was started."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(base / "cache"),
        "XDG_STATE_HOME": str(base / "state"),
        "XDG_DATA_HOME": str(base / "data"),
    }
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "landmarks", "open", str(root), "--no-browser", "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid, begun
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def first_start(base: Path, root: Path, count: int, tagged: int) -> Iterator[tuple[str, str]]:
    """Yield what the first start takes, until some photos are tagged."""
    with opened(base, root) as (page, process, begun):
        page.json("/api/library")
        yield "first start: page is answered", f"{time.perf_counter() - begun:.2f} s ({cpu(process):.2f} s of CPU)"
        while len(page.json("/api/photos")["photos"]) == 0:
            time.sleep(0.05)
        yield "first start: first photos listed", f"{time.perf_counter() - begun:.2f} s"
        while page.json("/api/library")["tagging"]["total"] < count:
            time.sleep(0.2)
        yield "first start: all photos listed", f"{time.perf_counter() - begun:.2f} s"
        while waiting(page) > count - tagged:
            time.sleep(1.0)
        yield f"first start: {tagged} photos tagged", f"{time.perf_counter() - begun:.1f} s"
        yield "first start: most memory", f"{peak(process):.0f} MiB"


def second_start(base: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield what a second start takes, and how fast the service answers while it tags."""
    with opened(base, root) as (page, process, begun):
        content = page.get("/api/photos")
        listed = len(json.loads(content)["photos"])
        page.get("/thumbnails/1")
        seconds = time.perf_counter() - begun
        yield (
            "second start: all rows and a thumbnail",
            f"{seconds:.2f} s ({listed} rows, {cpu(process):.2f} s of CPU)",
        )
        yield "all rows, without gzip", f"{len(content) / 1e6:.1f} MB"
        numbers = [row["id"] for row in json.loads(content)["photos"]]
        delays: list[float] = []
        done = threading.Event()
        watch = threading.Thread(target=probe, args=(page, delays, done))
        watch.start()
        for kind, path in (
            ("thumbnails, made", "/thumbnails/{}?a"),
            ("thumbnails, stored", "/thumbnails/{}?b"),
            ("previews", "/previews/{}"),
            ("details", "/api/photos/{}"),
            ("similar", "/api/similar?id={}"),
        ):
            times = [timed(page, path.format(number)) for number in numbers[: PROBES if "thumb" in kind else 40]]
            yield kind, spread(times)
        yield "all rows", spread([timed(page, "/api/photos") for _ in range(5)])
        start = time.perf_counter()
        page.post("/api/verdicts", {"photos": numbers[:STEP], "verdict": "rename", "key": "eiffel_tower"})
        yield f"name {STEP} photos in one step", f"{time.perf_counter() - start:.2f} s"
        start = time.perf_counter()
        page.post("/api/undo", {})
        yield "undo it", f"{time.perf_counter() - start:.2f} s"
        yield "suggestions", spread([timed(page, "/api/suggestions")])
        time.sleep(10)
        done.set()
        watch.join()
        yield "the smallest request meanwhile", spread(delays)
        yield "second start: most memory", f"{peak(process):.0f} MiB"


def waiting(page: Page) -> int:
    return sum(row["state"] == "waiting" for row in page.json("/api/photos")["photos"])


def probe(page: Page, delays: list[float], done: threading.Event) -> None:
    """Ask for what needs no thread again and again: how long the loop is held."""
    while not done.is_set():
        delays.append(timed(page, "/manifest.webmanifest"))
        time.sleep(0.02)


def timed(page: Page, path: str) -> float:
    start = time.perf_counter()
    page.get(path)
    return time.perf_counter() - start


def spread(times: Sequence[float]) -> str:
    half, most, largest = (1000 * float(np.quantile(times, share)) for share in (0.5, 0.99, 1.0))
    return f"{half:.0f} ms (99 %: {most:.0f}, largest {largest:.0f})"


def cpu(process: int) -> float:
    """Return the CPU time that a process has used, in seconds: other work hardly changes it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(process: int) -> float:
    """Return the most memory that a process had, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
