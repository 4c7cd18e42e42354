"""How much work is let in: so many pictures, and so many bytes of them, are in the service at a time.

A picture takes its place once its request is complete: an upload that stalls holds only the bytes that came.
No client gets everything: it may hold three times of what it leaves free, so there is always room for others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from types import TracebackType

from landmarks.serving.errors import RequestError

_REMEMBERED = 64  # pictures whose rate tells how long the line will take
_SHARE = 3  # a client may hold so many times of what it leaves free


class Admission:
    """The places of a service.

    Args:
        places: Most pictures at a time.
        max_bytes: Most bytes of request bodies at a time.

    Attributes:
        taken: How many places are taken.
    """

    def __init__(self, places: int, max_bytes: int) -> None:
        self._places = places
        self._max_bytes = max_bytes
        self._bytes = 0
        self._left: deque[float] = deque(maxlen=_REMEMBERED)
        self._clients: dict[str, list[int]] = {}  # places and bytes of each
        self.taken = 0

    def enter(self, client: str) -> Ticket:
        """Return a ticket for a request of a client, which has taken nothing yet.

        Raises:
            RequestError: There is no place for a picture, so its upload would be for nothing.
        """
        self._check(client, 1, 0)
        return Ticket(self, client)

    def take(self, client: str, places: int, size: int) -> None:
        """Take places and bytes, all or none.

        Raises:
            RequestError: There are not so many, or not for this client.
        """
        self._check(client, places, size)
        held = self._clients.setdefault(client, [0, 0])
        held[0] += places
        held[1] += size
        self.taken += places
        self._bytes += size

    def _check(self, client: str, places: int, size: int) -> None:
        held = self._clients.get(client, (0, 0))
        if not (
            _fits(held[0], places, self._places - self.taken)
            and _fits(held[1], size, self._max_bytes - self._bytes)
        ):
            raise RequestError(
                "overloaded", "the service is busy: send the request again later", retry_after=self.retry_after()
            )

    def give_back(self, client: str, places: int, size: int) -> None:
        """Give back what was taken."""
        held = self._clients.get(client)
        if held is None:
            return
        held[0] -= places
        held[1] -= size
        if held == [0, 0]:
            del self._clients[client]
        self.taken -= places
        self._bytes -= size
        now = time.monotonic()
        self._left.extend([now] * places)

    def retry_after(self) -> int:
        """Return in how many seconds half of the places will be free at the present rate, 1 to 30."""
        if len(self._left) < 2:
            return 1
        rate = len(self._left) / max(time.monotonic() - self._left[0], 1e-3)
        return min(30, max(1, math.ceil(self.taken / 2 / rate)))


def _fits(held: int, wanted: int, free: int) -> bool:
    """Whether a client that holds some may have more; whoever holds nothing may have all that is free."""
    return wanted <= free and (held == 0 or held + wanted <= _SHARE * (free - wanted) or wanted == 0)


class Ticket:
    """What one request has taken; leaving the `with` block gives it back."""

    def __init__(self, admission: Admission, client: str) -> None:
        self._admission = admission
        self._places = 0
        self._bytes = 0
        self.client = client

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.give_back(self.client, self._places, self._bytes)

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._bytes

    def take_places(self, count: int) -> None:
        """Take places for the pictures of the request; raises `RequestError` where there are none."""
        self._admission.take(self.client, count, 0)
        self._places += count

    def take_bytes(self, count: int) -> None:
        """Take room for a part of the body; raises `RequestError` where there is none."""
        self._admission.take(self.client, 0, count)
        self._bytes += count
