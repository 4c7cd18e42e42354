"""Waiting for what will be so, with a limit for what never will."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds; fails after so many seconds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"it did not come to that within {seconds} seconds"
        time.sleep(0.02)


async def until_in_loop(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait in an event loop, whose other tasks go on meanwhile; as `until`."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"it did not come to that within {seconds} seconds"
        await asyncio.sleep(0.01)
