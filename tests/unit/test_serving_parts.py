"""Settings, slots, frames, host names and logs of the service."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import socket
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from waiting import until_in_loop

from landmarks.errors import ModelError, SettingsError
from landmarks.serving.errors import STATUS, RequestError
from landmarks.serving.listening import listen
from landmarks.serving.middleware.admission import Admission
from landmarks.serving.middleware.clients import Account, Clients
from landmarks.serving.middleware.connections import BoundedProtocol
from landmarks.serving.middleware.failsafe import Failsafe
from landmarks.serving.middleware.keys import KeyRing
from landmarks.serving.middleware.logs import JsonFormatter
from landmarks.serving.middleware.observability import problem_of
from landmarks.serving.middleware.security import Gate, host_name
from landmarks.serving.pool import protocol as frames
from landmarks.serving.server import Server, run
from landmarks.serving.settings import Access, ConnectionLimits, JobLimits, Limits, ServeSettings


@pytest.mark.parametrize(
    ("make", "flag"),
    [
        (lambda path: Limits(max_mb=0), "`max_mb`"),
        (lambda path: Limits(max_megapixels=0), "`max_megapixels`"),
        (lambda path: Limits(max_files=0), "`max_files`"),
        (lambda path: Limits(decode_seconds=0), "`decode_seconds`"),
        (lambda path: Limits(decode_seconds=5, request_seconds=4), "`request_seconds`"),
        (lambda path: Limits(max_mb=10, max_request_mb=9), "room"),
        (lambda path: ServeSettings(path, workers=0), "`workers` must be from 1 to"),
        (lambda path: ServeSettings(path, workers=100_000), "`workers` must be from 1 to .* per core, not 100000"),
        (lambda path: Limits(queue=31), "`queue`"),
        (lambda path: Access(api_key="short"), "16"),
        (lambda path: Access(api_key="with a space in it"), "spaces"),
        (lambda path: Access(origins=("*",)), "`origins`"),
        *(
            (lambda path, text=text: Access(origins=(text,)), "`origins` must be an origin as browsers send it")
            for text in (
                *("https://photos.example/path", "https://Photos.example", "https://photos.example:443", "null"),
                *("http://a@photos.example", "http://photos.example:99999", "photos.example", "http://[::1"),
            )
        ),
        *(
            (lambda path, name=name: Access(hosts=("photos.example", name)), "`hosts` must be a host name such as")
            for name in ("photos.example:8000", "https://photos.example", "photos.example/", "[::1]", "", "*")
        ),
        *(
            (lambda path, name=name, value=value: Limits(**{name: value}), f"`{name}` must be above 0 and at most")
            for name in ("max_mb", "max_megapixels", "max_request_mb", "request_seconds", "decode_seconds")
            for value in (math.inf, math.nan, 1e308)
        ),
        (lambda path: Limits(upload_bytes_per_second=10**400), "`upload_bytes_per_second` must be at least 1"),
        (lambda path: JobLimits(job_hours=math.inf), "`job_hours`"),
        (lambda path: ConnectionLimits(send_seconds=math.nan), "`send_seconds`"),
        (lambda path: ServeSettings(path, reload_seconds=math.inf), "`reload_seconds`"),
    ],
)
def test_settings_name_what_is_wrong(make: Any, flag: str, tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match=flag):
        make(tmp_path)


def test_the_key_is_not_shown() -> None:
    assert "sixteen-or-more" not in repr(Access(api_key="a-key-of-sixteen-or-more"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 60)), max_size=30))
def test_admission_never_takes_more_than_there_is_and_gets_everything_back(
    wishes: list[tuple[str, int, int]],
) -> None:
    admission = Admission(places=8, max_bytes=100)
    tickets, places, size = [], 0, 0
    refusals: list[RequestError] = []
    for client, count, bytes_ in wishes:
        try:
            ticket = admission.enter(client)
            tickets.append(ticket)
            ticket.take_bytes(bytes_)
            size += bytes_
            ticket.take_places(count)
            places += count
        except RequestError as refused:
            refusals.append(refused)
        assert admission.taken == places <= 8
        assert size <= 100
    assert all(refused.status == 429 and 1 <= (refused.retry_after or 0) <= 30 for refused in refusals)
    for ticket in tickets:
        with ticket:
            pass
    assert admission.taken == 0
    with admission.enter("a") as ticket:
        ticket.take_bytes(100)
        ticket.take_places(8)


def test_a_client_with_much_leaves_room_for_others() -> None:
    admission = Admission(places=64, max_bytes=1000)
    with suppress(RequestError):
        for _ in range(100):
            admission.enter("greedy").take_places(1)
    assert admission.taken == 48
    for number in range(12):
        admission.enter(f"honest {number}").take_places(1)


def test_a_request_that_has_ended_takes_nothing_more() -> None:
    admission = Admission(places=8, max_bytes=100)
    with admission.enter("a") as ticket:
        ticket.take_places(1)
    for take in (ticket.take_places, ticket.take_bytes):
        with pytest.raises(RuntimeError, match="ended"):
            take(1)
    assert admission.taken == 0


def test_an_upload_that_has_not_come_takes_no_place() -> None:
    admission = Admission(places=2, max_bytes=1000)
    for _ in range(50):
        admission.enter("slow").take_bytes(3)
    admission.enter("honest").take_places(2)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), st.integers() | st.text()), st.binary(max_size=2000))
def test_frames_come_back_whole(head: dict[str, Any], body: bytes) -> None:
    raw = b"".join(frames.pack(head, body))
    assert frames.read(io.BytesIO(raw)) == (head, body)
    assert frames.read(io.BytesIO(raw[:-1])) is None


def test_a_head_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        frames.parse_head(b"[1]")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("", ""),
    ],
)
def test_host_names(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    "origin", ["https://photos.example", "http://localhost:3000", "http://[::1]:8000", "https://photos.example:80"]
)
def test_origins_that_browsers_send_are_taken(origin: str) -> None:
    assert Access(origins=(origin,)).origins == (origin,)


class _Transport(asyncio.Transport):
    """A connection whose client takes so many bytes at each look."""

    def __init__(self, takes: int = 0) -> None:
        super().__init__({"peername": ("10.0.0.1", 1)})
        self.left = 10_000
        self.aborted = self.closed = False
        self.sent = b""
        self._takes = takes

    def get_write_buffer_size(self) -> int:
        """Return what is left, after the client has taken some more."""
        self.left -= self._takes
        return self.left

    def is_closing(self) -> bool:
        """Return whether the connection was cut."""
        return self.aborted

    def abort(self) -> None:
        """Cut the connection."""
        self.aborted = True

    def close(self) -> None:
        """Wait for the client to take the rest."""
        self.closed = True

    def pause_reading(self) -> None:
        """Receive nothing for a while."""

    def resume_reading(self) -> None:
        """Receive again."""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Keep what is sent."""
        self.sent += data


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("answered")(scope, receive, send)


def _protocol(clients: Clients, account: Account | None, app: Any = _answer) -> BoundedProtocol:
    """One connection."""
    config = uvicorn.Config(app, log_config=None)
    config.load()
    return BoundedProtocol(
        clients=clients, account=account, refused=print, config=config, server_state=ServerState(), app_state={}
    )


@pytest.mark.parametrize(
    ("refused", "status"), [({}, 200), ({"api_key": "k" * 16}, 401), ({"hosts": ("b",)}, 403)]
)
def test_a_client_behind_a_proxy_waits_for_its_turn_and_others_do_not(
    refused: dict[str, Any], status: int
) -> None:
    async def sent() -> list[bytes]:
        access = Access(proxies=("10.0.0.1",), **refused)
        app = Failsafe(Gate(_answer, access, KeyRing(access)), problem_of)
        clients = Clients(ConnectionLimits(), access.proxies)
        clients.delay(clients.behind("192.0.2.2"), 0.001)
        clients.delay(clients.behind("192.0.2.1"), 5.0)
        transports = [_Transport(), _Transport()]
        for number, transport in enumerate(transports, 1):
            account, _ = clients.enter("10.0.0.1")
            protocol = _protocol(clients, account, app)
            protocol.connection_made(transport)
            protocol.data_received(
                b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n" % number
            )
        await until_in_loop(lambda: transports[1].sent, seconds=30)
        return [transport.sent for transport in transports]

    greedy, other = asyncio.run(sent())
    assert greedy == b""
    assert other.startswith(b"HTTP/1.1 %d " % status)


def test_a_proxy_may_keep_an_idle_connection_for_as_long_as_proxies_do() -> None:
    async def closed() -> list[bool]:
        clients = Clients(ConnectionLimits(idle_seconds=0.01), ["10.0.0.1"])
        transports = [_Transport(), _Transport()]
        for transport, address in zip(transports, ("10.0.0.1", "192.0.2.1"), strict=True):
            protocol = _protocol(clients, clients.enter(address)[0])
            protocol.connection_made(transport)
            protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until_in_loop(lambda: all(one.sent.endswith(b"answered") for one in transports), seconds=30)
        await until_in_loop(lambda: transports[1].closed, seconds=30)
        await asyncio.sleep(0.05)
        return [transport.closed for transport in transports]

    assert asyncio.run(closed()) == [False, True]


def test_a_request_that_waits_for_the_turn_of_its_client_is_answered_at_the_stop() -> None:
    async def sent() -> tuple[bytes, bytes]:
        clients = Clients(ConnectionLimits())
        greedy, other = clients.enter("192.0.2.1")[0], clients.enter("192.0.2.2")[0]
        assert greedy is not None
        assert other is not None
        protocol, transport = _protocol(clients, greedy), _Transport()
        protocol.connection_made(transport)
        clients.delay(other, 0.001)
        assert clients.delay(greedy, 5.0) > 5
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = transport.sent
        protocol.shutdown()
        await until_in_loop(lambda: transport.sent.endswith(b"answered"), seconds=30)
        return before, transport.sent

    before, after = asyncio.run(sent())
    assert before == b""
    assert after.endswith(b"answered")


def test_what_is_said_before_the_service_starts_is_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("landmarks.serving.server.log_as_json", lambda: told.append("as JSON"))
    with pytest.raises(ModelError):
        run(ServeSettings(tmp_path), "127.0.0.1", 0)
    assert told


def test_connections_whose_turn_comes_while_the_service_stops_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = Clients(ConnectionLimits())
    enter = clients.enter
    monkeypatch.setattr(clients, "enter", lambda address: (enter(address)[0], 0.02))
    protocol = partial(BoundedProtocol, clients=clients, refused=print)

    async def stopped(listener: socket.socket, asked: list[socket.socket]) -> None:
        config = uvicorn.Config(_answer, http=protocol, lifespan="off", log_config=None)  # type: ignore[arg-type]
        server = Server(config, clients, print, lambda: None, lambda: None)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        for one in asked:
            one.connect(listener.getsockname())
            one.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(0.01)
        time.sleep(0.02)  # now it is the turn of all of them
        await server.shutdown([listener])

    with listen("127.0.0.1", 0) as listener, ExitStack() as stack:
        asked = [stack.enter_context(socket.socket()) for _ in range(5)]
        asyncio.run(stopped(listener, asked))
        assert [one.recv(1000)[-8:] for one in asked] == [b"answered"] * 5


@pytest.mark.parametrize(("takes", "is_cut"), [(0, True), (5, True), (50, False)])
@pytest.mark.parametrize("wait", ["pause_writing", "_close"])
def test_a_client_that_takes_its_answer_slowly_is_not_cut_off(wait: str, takes: int, is_cut: bool) -> None:
    async def aborted() -> bool:
        clients = Clients(ConnectionLimits(send_seconds=0.01))  # so that 10 bytes are the least
        protocol = _protocol(clients, clients.enter("192.0.2.1")[0])
        transport = _Transport(takes)
        protocol.connection_made(transport)
        getattr(protocol, wait)()
        await asyncio.sleep(0.05)
        return transport.aborted

    assert asyncio.run(aborted()) == is_cut


def test_each_code_has_a_status_of_an_error() -> None:
    assert all(400 <= status < 600 for status in STATUS.values())


def test_a_log_line_is_one_json_object() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.getLogger("landmarks.serving").makeRecord(
            "landmarks.serving",
            logging.ERROR,
            __file__,
            1,
            "failed %s",
            ("x",),
            sys.exc_info(),
            extra={"request_id": "7", "ms": 1.5},
        )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    row = json.loads(line)
    assert (row["event"], row["level"], row["request_id"], row["ms"]) == ("failed x", "error", "7", 1.5)
    assert "ValueError" in row["trace"]
