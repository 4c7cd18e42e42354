"""Admission control: limits the number of images, and of their bytes, in the service at a time.

An image takes a slot once its request is complete: a stalled upload holds only the bytes received. Beyond
its first request, a client may hold at most three times what it leaves free, so there is room for others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.keys import Quota

_REMEMBERED = 64  # recent images from which the processing rate is estimated
_SHARE = 3  # a client may hold at most this many times what it leaves free


class Admission:
    """The slots of a service.

    Args:
        places: Maximum number of images at a time.
        max_bytes: Maximum bytes of request bodies at a time.

    Attributes:
        taken: Number of slots taken.
    """

    def __init__(self, places: int, max_bytes: int) -> None:
        self._places = places
        self._max_bytes = max_bytes
        self._bytes = 0
        self._left: deque[float] = deque(maxlen=_REMEMBERED)
        self._clients: dict[str, list[int]] = {}  # slots and bytes of each
        self.taken = 0

    def enter(self, client: str, quota: Quota | None = None) -> Ticket:
        """Return a ticket, still without slots, for a request of a client with the quota of its key.

        Raises:
            RequestError: There is no slot for an image, or the key has used up its rate, so uploading it would be
                pointless.
        """
        if quota is not None:
            quota.check()
        self._check(client, 1, 0)
        return Ticket(self, client, quota)

    def take(self, client: str, places: int, size: int) -> None:
        """Take slots and bytes, all or none.

        Raises:
            RequestError: There are not enough, or not for this client.
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
        """Return slots and bytes."""
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
        """Return the seconds until half of the slots will be free at the current rate, 1 to 30."""
        if len(self._left) < 2:
            return 1
        rate = len(self._left) / max(time.monotonic() - self._left[0], 1e-3)
        return min(30, max(1, math.ceil(self.taken / 2 / rate)))


def _fits(held: int, wanted: int, free: int) -> bool:
    """Return whether a client may have more; one that holds nothing may have everything that is free."""
    return wanted <= free and (held == 0 or held + wanted <= _SHARE * (free - wanted) or wanted == 0)


class Ticket:
    """The slots and bytes of one request; leaving the `with` block returns them.

    Attributes:
        client: Client of the request.
        spend: Charges the client for CPU time, in seconds, that the request takes outside the event loop.
    """

    def __init__(self, admission: Admission, client: str, quota: Quota | None = None) -> None:
        self._admission = admission
        self._quota = quota
        self._places = 0
        self._bytes = 0
        self._ended = False
        self.client = client
        self.spend: Callable[[float], object] = lambda _seconds: None

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._admission.give_back(self.client, self._places, self._bytes)

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._bytes

    def take_places(self, count: int) -> None:
        """Take slots for the images of the request, and count them.

        Raises:
            RequestError: There are none, or the key has used up its rate.
        """
        with self.accepting(count):
            self._take(count, 0)
            self._places += count

    def accepting(self, images: int) -> AbstractContextManager[None]:
        """Count images toward the rate limit of the key unless an error ends the block; see `Quota.taking`."""
        return nullcontext() if self._quota is None else self._quota.taking(images)

    def take_bytes(self, count: int) -> None:
        """Reserve memory for a part of the body; raises `RequestError` if there is none."""
        self._take(0, count)
        self._bytes += count

    def _take(self, places: int, size: int) -> None:
        if self._ended:
            raise RuntimeError("the request has ended: nobody would return what it takes now")
        self._admission.take(self.client, places, size)
