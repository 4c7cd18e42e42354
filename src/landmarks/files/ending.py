"""The signals that end a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_ending(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have the signals that end a process handled: SIGTERM, Ctrl-C, and SIGHUP unless it is ignored (`nohup`)."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        numbers = []
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
