"""What a coroutine computes is charged, however it ends, and nothing that it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest

from landmarks.serving.middleware.metering import metered


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _charged(work: Callable[[], Awaitable[None]], *, cancelled: bool = False) -> list[float]:
    charged: list[float] = []

    async def measured() -> None:
        await metered(work(), charged.append)  # type: ignore[arg-type]

    async def run() -> None:
        task = asyncio.create_task(measured())
        await asyncio.sleep(0.1)
        if cancelled:
            task.cancel()
        await task

    with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError):
        asyncio.run(run())
    return charged


def test_what_is_computed_between_waits_is_charged_once_at_the_end() -> None:
    async def work() -> None:
        for _ in range(4):
            _compute(0.02)
            await asyncio.sleep(0.1)

    (seconds,) = _charged(work)
    assert 0.08 <= seconds < 0.2


def test_what_fails_or_is_cancelled_is_charged_too() -> None:
    async def failing() -> None:
        _compute(0.05)
        await asyncio.sleep(0)
        raise ZeroDivisionError

    seen: list[str] = []

    async def waiting() -> None:
        _compute(0.05)
        try:
            await asyncio.sleep(60)
        finally:
            _compute(0.05)
            seen.append("cleaned up")

    assert _charged(failing)[0] >= 0.05
    assert _charged(waiting, cancelled=True)[0] >= 0.1
    assert seen == ["cleaned up"]


def test_errors_and_results_of_what_is_awaited_arrive() -> None:
    seen: list[object] = []

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        seen.append(await asyncio.to_thread(lambda: 7))

    assert len(_charged(work)) == 1
    assert seen == [7]
