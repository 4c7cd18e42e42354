"""Run `landmarks serve` as a user would: in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import CALL

BROWSER = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Running:
    """A service at work."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@contextmanager
def serving(*flags: object, before: str = "pass", environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Start a service after the lines `before`, wait until it takes pictures, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [sys.executable, "-c", f"{before}\n{CALL}", "serve", "--port", "0", *map(str, flags)]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
            )
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            assert address, log.read_text()
            yield Running(address, process, log)
        finally:
            process.terminate()
            process.wait(20)
            if process.stdout:
                process.stdout.close()
