"""Measures how long a coroutine keeps the event loop busy."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def metered(work: Coroutine[Any, Any, None], charge: Callable[[float], object]) -> Generator[Any, None, None]:
    """Await a coroutine, and charge for it when it ends, however it ends.

    Args:
        work: The coroutine. What it computes in tasks and threads of its own is not measured.
        charge: Called with the CPU time, in seconds, that the coroutine took between its awaits.
    """
    spent = 0.0
    error: BaseException | None = None
    try:
        while True:
            started = time.thread_time()
            try:
                awaited = work.send(None) if error is None else work.throw(error)
            except StopIteration:
                return
            finally:
                spent += time.thread_time() - started
            error = None
            try:
                yield awaited
            except BaseException as raised:  # noqa: BLE001 - `work` handles it: it may be the end of its task
                error = raised
    finally:
        charge(spent)
