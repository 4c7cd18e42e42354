"""Run `landmarks serve` as a user would: in a separate process, on a free port of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import CALL


@dataclass(frozen=True)
class Running:
    """A running service."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def serving(*flags: object, environment: Mapping[str, str] | None = None) -> AbstractContextManager[Running]:
    """Start `landmarks serve`, wait until it accepts images, and stop it."""
    return serving_by([sys.executable, "-c", CALL, "serve", "--port", "0", *map(str, flags)], environment)


@contextmanager
def serving_by(command: Sequence[object], environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Do this with any command that prints its address."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            assert address, log.read_text()
            yield Running(address, process, log)
        finally:
            process.terminate()
            process.wait(100)
            if process.stdout:
                process.stdout.close()
