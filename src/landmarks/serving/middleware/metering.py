"""Charges for how long a coroutine keeps the event loop busy, and lets it wait for its turn."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

_CHEAP = 0.001
"""CPU time in seconds up to which a step is charged with the next one. More is charged at once: other requests of
the client may be about to begin."""

_LONGEST_WAIT = 1.0
"""Seconds after which what is left to wait is asked for again."""


@types.coroutine
def metered(work: Coroutine[Any, Any, None], charge: Callable[[float], float]) -> Generator[Any, None, None]:
    """Await a coroutine, and charge for what it computes between its awaits, however it ends.

    Args:
        work: The coroutine. What it computes in tasks and threads of its own is not measured.
        charge: Called with CPU time in seconds, also 0; returns the seconds to wait before more is computed.
    """
    spent = 0.0
    error: BaseException | None = None
    try:
        while True:
            try:
                wait, spent = charge(spent), 0.0
                while wait and error is None:
                    yield from asyncio.sleep(min(wait, _LONGEST_WAIT)).__await__()
                    wait = charge(0.0)
            except BaseException as raised:  # noqa: BLE001 - `work` handles it: it may be the end of its task
                error = raised
            started = time.thread_time()
            try:
                awaited = work.send(None) if error is None else work.throw(error)
            except StopIteration:
                return
            finally:
                spent += time.thread_time() - started
            if spent > _CHEAP:
                charge(spent)
                spent = 0.0
            error = None
            try:
                yield awaited
            except BaseException as raised:  # noqa: BLE001 - as above
                error = raised
    finally:
        charge(spent)
