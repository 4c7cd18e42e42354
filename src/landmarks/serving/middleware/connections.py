"""Limits on connections: slow headers, idle connections, slow readers and tiny chunks are cut off early.

uvicorn's h11 protocol handles HTTP. It limits the size of the headers and the idle time between requests, but not
the time for the headers or the silence of a new connection; it reads on forever if a response was sent before the
end of a body; and it does not share its one thread fairly between clients. This module adds all of that.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from landmarks.serving.errors import RequestError, error_bytes
from landmarks.serving.middleware.clients import Account, Clients, too_many_connections
from landmarks.serving.middleware.metering import metered
from landmarks.serving.middleware.security import HEADERS

_REQUEST_COST = 0.001
"""Seconds of the event loop per request, besides reading its bytes; what takes longer is charged as measured."""

_READ_COST = 0.0001
"""Seconds of the event loop to wait for data, to receive it, and to pause a client."""

_BYTE_COST = 0.5e-9
"""Seconds to receive a byte, which the operating system copies."""

_HEAD_LINES = 100
"""Lines of a request's head; browsers send some twenty. Parsing them costs far more than receiving them."""

_TARGET_BYTES = 8192
"""Length of a request's address, as other servers have it: its parameters cost far more than receiving them."""

_FEW_PIECES = 100  # chunks of a body; any more must not be tiny
_TINY_PIECE = 64  # bytes, on average
_DISCARD_BYTES = 100 * 2**20
"""Bytes of a body to read after its request was refused: if cut off, many clients would miss the response."""

_DISCARD_SECONDS = 30.0
_SLOW_RATE = 1024
"""Bytes of a response, per second, that a client must take; phones on a bad line take more."""
_PROXY_IDLE_SECONDS = 75.0
"""How long an idle connection of a proxy stays open at least: longer than the 60 seconds for which nginx and AWS's
load balancers keep one. They answer 502 to a request that they send while it is closed here."""

_STOP_SECONDS = 0.5
"""How long a connection without a request stays open once the server stops: one may be in transit."""


_WHOLE = re.compile(rb"https?://(?P<host>[^/?#]+)(?P<path>.*)", re.IGNORECASE)
"""A request for a whole address, as clients send them to proxies, and some to everybody."""

_PYTHON = re.compile(r"[:,]? (?:bytearray\(|b?['\"])")
"""Where h11's description of an error goes on in Python."""


class _Reader(h11.Connection):
    """An HTTP parser that refuses what costs much more to parse than to send.

    That is: very many or very long headers, a very long address, tiny chunks.
    """

    def __init__(self, header_bytes: int) -> None:
        super().__init__(h11.SERVER, header_bytes)
        self._header_bytes = header_bytes
        self._pieces = self._size = 0

    def next_event(self) -> Any:
        """Return the next HTTP event; raises `h11.RemoteProtocolError` for what costs too much."""
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0].partition(b"\r\n\r\n")[0].partition(b"\n\n")[0]
            # h11 itself limits only a head that is not complete yet.
            if len(head) > self._header_bytes or head.count(b"\n") > _HEAD_LINES:
                raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._size = 0
            if len(event.target) > _TARGET_BYTES:
                raise h11.RemoteProtocolError("the address is too long", error_status_hint=431)
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
                # A proxy may believe the other one, and take what follows for the request of somebody else.
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding tell where it ends")
            return event if event.target.startswith(b"/") else _with_path(event)
        if isinstance(event, h11.Data):
            self._pieces += 1
            self._size += len(event.data)
            if self._pieces > _FEW_PIECES and self._size < _TINY_PIECE * self._pieces:
                raise h11.RemoteProtocolError("the body comes in too small pieces")
        return event


def _with_path(request: h11.Request) -> h11.Request:
    """Return a request for a whole address as one for its path; its host counts, not the header (RFC 9112)."""
    whole = _WHOLE.fullmatch(request.target)
    if whole is None:
        return request
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    path = whole["path"] if whole["path"].startswith(b"/") else b"/" + whole["path"]
    return h11.Request(
        method=request.method,
        target=path,
        headers=[(b"host", whole["host"]), *headers],
        http_version=request.http_version,
    )


class _HeldFlow(FlowControl):
    """Flow control in which reading can also be paused for a while, whatever the request needs."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False

    def pause_reading(self) -> None:
        """Pause reading for the request."""
        if self.held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """Resume reading for the request, at once or when it is no longer held."""
        if self.held:
            self.read_paused = False
        else:
            super().resume_reading()

    def hold(self) -> None:
        """Hold reading until `release`."""
        self.held = True
        if not self.read_paused:
            self._transport.pause_reading()

    def release(self) -> None:
        """Stop holding; reading continues unless the request has paused it."""
        self.held = False
        if not self.read_paused:
            self._transport.resume_reading()


class BoundedProtocol(H11Protocol):
    """One connection.

    Args:
        clients: All connections, by client.
        account: From `clients`, to which this connection belongs; None if there are too many.
        refused: Called with a code each time a connection is closed without a request.
        given: Arguments that uvicorn passes to a protocol.
    """

    def __init__(
        self, *, clients: Clients, account: Account | None, refused: Callable[[str], None], **given: Any
    ) -> None:
        super().__init__(**given)
        self._clients = clients
        self._limits = clients.limits
        self._refused = refused
        self._account = account
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._begun = False  # whether part of the headers has arrived
        self._discarded = 0
        self._kept = bytearray()  # data received while reading was held
        self._stopping = False
        self.conn = _Reader(self._limits.header_bytes)
        self._serve, self.app = self.app, self._serve_metered

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request, or refuse the connection."""
        super().connection_made(transport)
        self.flow = _HeldFlow(transport)
        if self._account is None:
            self._refuse(too_many_connections())
            return
        self._wait(self._limits.header_seconds, self._silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._wait(None)
        if self._sending is not None:
            self._sending.cancel()
        if self._account is not None:
            self._clients.leave(self._account)
            self._account = None

    def data_received(self, data: bytes) -> None:
        """Process received data, unless the client has to wait for its turn."""
        if self.transport.is_closing():
            return
        if not (self._busy() or self._held()):
            self._hold(self._charge(0.0))  # before it is read, for what requests have cost on all connections
        if self._held():
            self._kept += data
            return
        self._read(data)

    def pause_writing(self) -> None:
        """Limit the time of a client that does not read its response."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Continue with a client that reads again."""
        super().resume_writing()
        if self._sending is not None and not self.transport.is_closing():  # the rest would be waited for for ever
            self._sending.cancel()

    def _expect_reading(self) -> None:
        """Cut a client off that takes less of its response, in `send_seconds`, than a slow line would."""
        if self._sending is not None:
            self._sending.cancel()
        left = self.transport.get_write_buffer_size()

        def look() -> None:
            if left - self.transport.get_write_buffer_size() < _SLOW_RATE * self._limits.send_seconds:
                self.transport.abort()
            else:
                self._expect_reading()

        self._sending = self.loop.call_later(self._limits.send_seconds, look)

    # --- called by uvicorn ---

    def on_response_complete(self) -> None:
        """Continue with the next request; one that has already arrived may have to wait for its turn."""
        delay = self._charge(_REQUEST_COST) if self.flow.read_paused else 0.0
        if delay:
            self.loop.call_later(delay, self._next)
        else:
            self._next()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a request for another protocol is served as an ordinary one, and has its own line."""

    def send_400_response(self, msg: str) -> None:
        """Refuse anything that is not HTTP, with an error of the service."""
        error = sys.exc_info()[1]
        hint = getattr(error, "error_status_hint", 400)
        if hint == 431:
            problem = RequestError("headers_too_large", "the head of the request is too large")
        else:
            reason = _PYTHON.split(str(error or msg), maxsplit=1)[0]
            problem = RequestError("bad_request", f"this is not a valid HTTP request: {reason}")
        self._refuse(problem)

    def shutdown(self) -> None:
        """Finish a request that has arrived or is in transit, then close."""
        self._stopping = True
        self._release()  # nobody waits for a turn any more
        if self._busy():
            self.cycle.keep_alive = False
        elif not self.transport.is_closing():
            self._wait(_STOP_SECONDS, self._close)

    # --- the work ---

    async def _serve_metered(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = payer = self._account  # a client that leaves meanwhile is charged too
        paid = _REQUEST_COST

        def spend(seconds: float) -> float:
            over = 0.0 if payer is None else self._clients.delay(payer, seconds)
            return 0.0 if self._stopping else over

        def charge(seconds: float) -> float:
            nonlocal paid
            free = min(paid, seconds)
            paid -= free
            return spend(seconds - free)

        async def come_from(client: str) -> None:
            nonlocal payer
            if account is not None and account.is_proxy and client != account.name:
                payer = self._clients.behind(client)
                spend(_REQUEST_COST)
                await asyncio.sleep(0)  # after which it waits for the turn of its client

        scope["state"].update(spend=spend, come_from=come_from)
        try:
            await metered(self._serve(scope, receive, send), charge)
        finally:
            if payer is not None and payer is not account:
                self._clients.end(payer)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _unfinished(self) -> bool:
        """Return whether a response was sent before the whole body had arrived."""
        return self.conn.their_state is h11.SEND_BODY

    def _next(self) -> None:
        self._begun = False
        super().on_response_complete()
        self._unset_keepalive_if_required()  # replaced by the limits here
        if self.transport.is_closing() or self._busy():
            return
        if self._unfinished():
            self._discarded = 0
            self._wait(_DISCARD_SECONDS, self.transport.abort)
        else:
            self._begun = bool(self.conn.trailing_data[0])
            self._wait(self._limits.header_seconds if self._begun else self._idle_seconds(), self._silent)
        if self._stopping:
            self.shutdown()

    def _read(self, data: bytes) -> None:
        unwanted = self._unfinished() and not self._busy()
        if unwanted:
            self._discarded += len(data)
            if self._discarded > _DISCARD_BYTES:
                self.transport.abort()
                return
        elif not self._begun and not self._busy():
            self._begun = True
            if not self._stopping:
                self._wait(self._limits.header_seconds, self._silent)
        before, started = self.cycle, time.thread_time()
        super().data_received(data)
        spent = time.thread_time() - started + _READ_COST + _BYTE_COST * len(data)
        spent += 0.0 if self.cycle is before else _REQUEST_COST
        if self._busy():
            self._wait(None)
            if self._stopping:
                self.cycle.keep_alive = False
        elif unwanted and not self._unfinished() and not self.transport.is_closing():
            self._begun = False
            self._wait(self._idle_seconds(), self._silent)
        self._hold(self._charge(spent))

    def _idle_seconds(self) -> float:
        is_proxy = self._account is not None and self._account.is_proxy
        return max(self._limits.idle_seconds, _PROXY_IDLE_SECONDS if is_proxy else 0.0)

    def _charge(self, seconds: float) -> float:
        over = 0.0 if self._account is None else self._clients.delay(self._account, seconds)
        return 0.0 if self._stopping else over

    def _held(self) -> bool:
        return isinstance(self.flow, _HeldFlow) and self.flow.held

    def _hold(self, seconds: float) -> None:
        """Read nothing for a while."""
        if seconds and isinstance(self.flow, _HeldFlow) and not self.transport.is_closing():
            self.flow.hold()
            self.loop.call_later(seconds, self._release)

    def _release(self) -> None:
        if self.transport.is_closing() or not isinstance(self.flow, _HeldFlow) or not self.flow.held:
            return
        if delay := self._charge(0.0):  # for what the client's other connections cost meanwhile
            self.loop.call_later(delay, self._release)
            return
        self.flow.release()
        if self._kept:
            data, self._kept = bytes(self._kept), bytearray()
            self._read(data)

    def _wait(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None or then is None else self.loop.call_later(seconds, then)

    def _silent(self) -> None:
        if self._begun:
            self._refuse(RequestError("request_timeout", "the head of the request took too long"))
        else:
            self._close()

    def _refuse(self, problem: RequestError) -> None:
        """Send an error without a request, and close."""
        self._refused(problem.code)
        if not self.transport.is_closing():
            if not (self._busy() and self.cycle.response_started):
                self.transport.write(error_bytes(problem, HEADERS))
            self._close()

    def _close(self) -> None:
        """Close; a client that does not read the remaining data is cut off."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_reading()
