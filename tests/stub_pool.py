"""Workers that answer at once, in the event loop: for tests of what the service does around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tiny_model import COLOURS

from landmarks.serving.pool.protocol import Also
from landmarks.serving.pool.worker import WorkerSettings

TAG = {"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": None}


class StubPool:
    """Takes the place of `landmarks.serving.pool.pool.Pool`; an image that starts with `no` is unreadable."""

    def __init__(
        self, settings: WorkerSettings, *, count: int, decode_seconds: float, replaced: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.waiting = self.ready = 0
        self.asked = self.answered = 0
        self.closed = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def open(self) -> None:
        self.ready = 1

    async def answer(self, picture: bytes, also: Sequence[Also] = (), *, client: str = "") -> dict[str, Any]:
        self.asked += 1
        await self.hold.wait()
        assert not self.closed, "the workers were stopped under a request"
        self.answered += 1
        if picture.startswith(b"no"):
            return {"error": {"code": "unsupported_format", "message": "this is no picture"}}
        candidate = {"class_name": next(iter(COLOURS)), "name": "Eiffel Tower", "probability": 0.9}
        reply = {"tags": [TAG], "candidates": [candidate], "known": True, "reasons": [], "seconds": {}}
        embedding = {"embedding": "AACAPw=="} if "embedding" in also else {}
        return reply | embedding | ({"size": (4, 3)} if "size" in also else {})

    async def close(self) -> None:
        self.closed = True
        self.ready = 0


def use_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have models served by such workers."""
    monkeypatch.setattr("landmarks.serving.models.served.Pool", StubPool)
