"""What a coroutine computes is charged, however it ends, and nothing that it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from landmarks.serving.middleware.metering import metered


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _charged(work: Callable[[], Awaitable[None]], *, cancelled: bool = False) -> list[float]:
    charged: list[float] = []

    def charge(seconds: float) -> float:
        charged.append(seconds)
        return 0.0

    async def measured() -> None:
        await metered(work(), charge)  # type: ignore[arg-type]

    async def run() -> None:
        task = asyncio.create_task(measured())
        await asyncio.sleep(0.1)
        if cancelled:
            task.cancel()
        await task

    with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError):
        asyncio.run(run())
    return charged


def test_what_is_computed_between_waits_is_charged_once() -> None:
    async def work() -> None:
        for _ in range(4):
            _compute(0.02)
            await asyncio.sleep(0.1)

    assert 0.08 <= sum(_charged(work)) < 0.2


@pytest.mark.parametrize("ended", [False, True])
def test_of_many_that_begin_at_once_one_computes_and_the_others_wait(ended: bool) -> None:
    computed: list[int] = []
    owed = 0.0

    def charge(seconds: float) -> float:
        nonlocal owed
        owed += seconds
        return 0.02 if owed > 0.01 else 0.0

    async def work(number: int) -> None:
        computed.append(number)
        _compute(0.02)

    async def run() -> None:
        nonlocal owed
        tasks = [asyncio.create_task(_as_coroutine(work(number), charge)) for number in range(5)]
        await asyncio.sleep(0.1)
        assert computed == [0]
        owed = 0.0
        if ended:
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks, timeout=0.1)
        assert len(computed) == (1 if ended else 2)
        assert [task.cancelled() for task in tasks[1:]] == [ended] * 4
        for task in tasks:
            task.cancel()

    asyncio.run(run())


async def _as_coroutine(work: Coroutine[Any, Any, None], charge: Callable[[float], float]) -> None:
    await metered(work, charge)


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

    assert sum(_charged(failing)) >= 0.05
    assert sum(_charged(waiting, cancelled=True)) >= 0.1
    assert seen == ["cleaned up"]


def test_errors_and_results_of_what_is_awaited_arrive() -> None:
    seen: list[object] = []

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        seen.append(await asyncio.to_thread(lambda: 7))

    assert 0 < sum(_charged(work)) < 0.1
    assert seen == [7]
