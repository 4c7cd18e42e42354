"""How much work is let in: so many pictures, and so many bytes of them, are in the service at a time.

A request takes its first place before its body is read, so that an overloaded service says no at once and its
memory stays flat however many ask.
"""

from __future__ import annotations

import math
import time
from collections import deque
from types import TracebackType

from landmarks.serving.errors import RequestError

_REMEMBERED = 64  # pictures whose rate tells how long the line will take


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
        self.taken = 0

    def enter(self) -> Ticket:
        """Return a ticket for a request, with one place.

        Raises:
            RequestError: There is no place.
        """
        ticket = Ticket(self)
        ticket.take_places(1)
        return ticket

    def take(self, places: int, size: int) -> None:
        """Take places and bytes, all or none.

        Raises:
            RequestError: There are not so many.
        """
        if self.taken + places > self._places or self._bytes + size > self._max_bytes:
            raise RequestError(
                "overloaded", "the service is busy: send the request again later", retry_after=self.retry_after()
            )
        self.taken += places
        self._bytes += size

    def give_back(self, places: int, size: int) -> None:
        """Give back what was taken."""
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


class Ticket:
    """What one request has taken; leaving the `with` block gives it back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._places = 0
        self._bytes = 0

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.give_back(self._places, self._bytes)

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._bytes

    def take_places(self, count: int) -> None:
        """Take places for pictures that the request brings on top; raises `RequestError` where there are none."""
        self._admission.take(count, 0)
        self._places += count

    def take_bytes(self, count: int) -> None:
        """Take room for a part of the body; raises `RequestError` where there is none."""
        self._admission.take(0, count)
        self._bytes += count
