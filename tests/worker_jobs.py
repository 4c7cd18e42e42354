"""Jobs for worker processes, in a module that those can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path

from landmarks.model.recognizer import Recognition, Recognizer
from landmarks.tagging.workers import Job


def start_echo() -> Job[str]:
    return lambda photos: [photo.name for photo in photos]


def start_recognizer(folder: Path) -> Job[Recognition]:
    recognizer = Recognizer(folder)
    return lambda photos: list(recognizer.recognize(photos))


def start_deadly() -> Job[str]:
    """A photo called deadly kills its process; one called once does so the first time."""

    def job(photos: Sequence[Path]) -> list[str]:
        for photo in photos:
            if photo.name == "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            if photo.name == "once" and not photo.exists():
                photo.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return [photo.name for photo in photos]

    return job


def start_stillborn() -> Job[str]:
    if parent_process() is not None:
        os._exit(1)
    return start_echo()


def start_slow() -> Job[str]:
    """Each photo takes long; the result identifies the process."""
    if parent_process() is not None:
        # In one write: two processes that print at the same moment may mix number and line end.
        os.write(1, f"{os.getpid()}\n".encode())

    def job(photos: Sequence[Path]) -> list[str]:
        time.sleep(60)
        return [photo.name for photo in photos]

    return job
