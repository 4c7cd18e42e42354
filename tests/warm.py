"""Commands in processes of their own that have PyTorch loaded already, which takes seconds of each start.

They are forked from the server of `multiprocessing`, which imports the libraries once and nothing of the package.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from commands import Outcome
from lightning_fabric.strategies import DDPStrategy

LIBRARIES = ["torch", "torchvision", "timm", "lightning_fabric", "onnxruntime", "frozen_imports"]


def warm_ranks(patch: pytest.MonkeyPatch) -> None:
    """Let trainings of this process fork the processes of their devices; those of other commands start as ever."""

    def forked(**options: Any) -> Any:
        _server()
        return DDPStrategy(**options | {"start_method": "forkserver"})

    patch.setattr("landmarks.training.engine.devices.DDPStrategy", forked)


def start_server() -> None:
    """Start the server, before the package starts the same one for its workers, without the libraries."""
    _server()
    forkserver.ensure_running()


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


class WarmCommand:
    """A command that runs in a process of its own.

    Args:
        arguments: Of the command line.
        before: Python code that runs first.
    """

    def __init__(self, *arguments: object, before: str = "") -> None:
        self._told = Path(mkdtemp())
        words = [str(argument) for argument in arguments]
        self._process = _server().Process(target=_run, args=(words, before, dict(os.environ), str(self._told)))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self, seconds: float = 280) -> Outcome:
        """Wait for the end, and return what was printed."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it did not end"
        out, err = ((self._told / name).read_text(encoding="utf-8") for name in ("out", "err"))
        shutil.rmtree(self._told)
        return Outcome(self._process.exitcode, out, err)


def _run(words: list[str], before: str, environment: dict[str, str], told: str) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(Path(told) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec(before, {})
    from landmarks.cli import main

    sys.exit(main(words))
