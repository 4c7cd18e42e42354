"""A fair queue for the workers: the client that has used the least of their time comes next.

First in, first out would let one client with many or heavy images go before everybody else. Here each client has a
queue of its own. A free worker takes from the client with the fewest images in progress, and among those from the
one that has used the least worker time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class _Client(Generic[Item]):
    waiting: deque[Item] = field(default_factory=deque)
    working: int = 0
    used: float = 0.0  # worker seconds, starting from the least-used client when it arrived
    turn: int = 0


class FairLine(Generic[Item]):
    """Items of many clients, taken in a fair order."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client[Item]] = {}
        self._turns = itertools.count()
        self._wake: deque[asyncio.Future[None]] = deque()
        self._used = 0.0  # by the client with the least: a new one starts there

    def __len__(self) -> int:
        return sum(len(client.waiting) for client in self._clients.values())

    def put(self, client: str, item: Item, *, first: bool = False) -> None:
        """Add an item of a client, as its last one or as its first."""
        if client not in self._clients:
            self._clients[client] = _Client(used=self._used)
        waiting = self._clients[client].waiting
        (waiting.appendleft if first else waiting.append)(item)
        while self._wake:
            future = self._wake.popleft()
            if not future.done():
                future.set_result(None)
                break

    def remove(self, client: str, item: Item) -> None:
        """Remove an item that is no longer needed; a missing one is ignored."""
        line = self._clients.get(client)
        if line is not None and item in line.waiting:
            line.waiting.remove(item)
            self._tidy()

    async def take(self) -> tuple[str, Item]:
        """Wait for the next item and return its client and the item; `done` must follow."""
        while not any(client.waiting for client in self._clients.values()):
            future = asyncio.get_running_loop().create_future()
            self._wake.append(future)
            await future
        name, client = min(
            ((name, client) for name, client in self._clients.items() if client.waiting),
            key=lambda pair: (pair[1].working, pair[1].used, pair[1].turn),
        )
        active = [each.used for each in self._clients.values() if each.waiting or each.working]
        self._used = max(self._used, min(active))
        client.working += 1
        client.turn = next(self._turns)
        return name, client.waiting.popleft()

    def done(self, client: str, seconds: float) -> None:
        """Report how many seconds the work on an item took."""
        line = self._clients[client]
        line.working -= 1
        line.used += seconds
        self._tidy()

    def _tidy(self) -> None:
        """Forget clients without items once the others have used as much as they have."""
        busy = any(each.waiting or each.working for each in self._clients.values())
        for name, each in list(self._clients.items()):
            if not each.waiting and not each.working and (each.used <= self._used or not busy):
                del self._clients[name]
