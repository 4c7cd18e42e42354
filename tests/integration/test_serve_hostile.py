"""Hostile and unlucky clients against `landmarks serve`: none of them stalls the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from multiprocessing import get_context
from pathlib import Path

import httpx2 as httpx
import pytest
from serving import Running, serving
from tiny_model import COLOURS, save_colour
from waiting import until

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from attacks import ATTACKS, attack_for_ever

HOSTILE, HONEST = "127.0.0.9", "127.0.0.1"
POST = "POST /v1/tags HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Running]:
    with serving("--model", model, "--workers", 1) as running:
        yield running


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_colour(tmp_path_factory.mktemp("photos") / "tower.png", COLOURS["07.Eiffel_Tower"]).read_bytes()


def port_of(running: Running) -> int:
    return int(running.address.rpartition(":")[2])


def connect(running: Running, source: str = HOSTILE) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(running)), timeout=30, source_address=(source, 0))


def answer_on(connection: socket.socket) -> tuple[int, str, HTTPResponse]:
    response = HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())["error"]["code"], response


def closed(connection: socket.socket) -> bool:
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- heads and connections ---


def test_an_endless_head_is_cut_off(service: Running) -> None:
    before = resident(service.process.pid)
    with connect(service) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        sent = 0
        with suppress(ConnectionError):
            while sent < 50 * 2**20:
                connection.sendall(b"x" * 2**20)
                sent += 2**20
    assert sent < 20 * 2**20
    assert resident(service.process.pid) < before + 30 * 2**20
    with connect(service) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 40_000)
        status, code, response = answer_on(connection)
        assert (status, code) == (431, "headers_too_large")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert closed(connection)


def test_a_large_head_is_refused_also_if_it_comes_at_once(service: Running) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "
    for length, expected in ((30_000, 200), (33_000, 431), (60_000, 431)):
        with connect(service) as connection:
            connection.sendall(first + b"x" * length + b"\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 %d" % expected
    with connect(service) as connection:  # what follows is no part of it, also after bare line feeds
        body = b"\n" * 40_000
        connection.sendall(b"POST /v1/tags HTTP/1.1\nHost: localhost\nContent-Length: 40000\n\n" + body)
        assert connection.recv(12) == b"HTTP/1.1 415"


def test_a_head_of_very_many_lines_is_refused(service: Running) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with connect(service) as connection:
        connection.sendall(first + b"a:\r\n" * 90 + b"\r\n" + first + b"a:\r\n" * 200 + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        received = bytearray()
        with suppress(ConnectionError):
            while piece := connection.recv(4096):
                received += piece
        assert b"HTTP/1.1 431" in received
        assert b"headers_too_large" in received


def test_a_very_long_address_is_refused(service: Running) -> None:
    for length, expected in ((8000, 404), (9000, 431)):
        with connect(service) as connection:
            connection.sendall(b"GET /" + b"a" * length + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer_on(connection)[0] == expected


def test_half_a_head_and_silence_are_ended(model: Path) -> None:
    flags = ["--header-seconds", 1, "--idle-seconds", 1]
    with serving("--model", model, "--workers", 1, *flags) as running:
        silent, half, dripping, idle = (connect(running) for _ in range(4))
        half.sendall(b"GET /healthz HTTP/1.1\r\nHos")
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 30:
                dripping.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - started < 15
        assert answer_on(half)[:2] == (408, "request_timeout")
        assert closed(silent)
        while idle.recv(4096):
            pass
        for connection in (silent, half, dripping, idle):
            connection.close()


def test_one_client_has_so_many_connections_and_others_still_get_theirs(model: Path) -> None:
    with serving("--model", model, "--workers", 1, "--client-connections", 20) as running:
        held = [connect(running) for _ in range(20)]
        with connect(running) as one_more:
            assert answer_on(one_more)[:2] == (429, "too_many_connections")
        assert httpx.get(f"{running.address}/healthz").status_code == 200
        for connection in held:
            connection.close()
        until(lambda: _answers(running), seconds=100)


def _answers(running: Running) -> bool:
    with connect(running) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(12) == b"HTTP/1.1 200"


def test_what_is_no_http_gets_an_answer_of_the_service(service: Running) -> None:
    with connect(service) as connection:
        connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        status, code, response = answer_on(connection)
        assert (status, code) == (400, "bad_request")
        assert response.headers["cache-control"] == "no-store"


def test_what_is_wrong_with_a_request_is_told_in_words(service: Running) -> None:
    for request in (
        b"GET /\xe9 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: \0\r\n\r\n",
        b"x\r\n\r\n",
        b"POST /v1/tags HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        with connect(service) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            told = json.loads(response.read())["error"]["message"]
        assert told.startswith("this is not a valid HTTP request: ")
        assert not {"(", "'", "\\"} & set(told), told


def test_a_request_for_another_protocol_is_an_ordinary_one(service: Running) -> None:
    before = service.log.stat().st_size
    with closing(HTTPConnection("127.0.0.1", port_of(service))) as client:
        client.request("GET", "/healthz", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        assert client.getresponse().status == 200
    until(lambda: b"/healthz" in service.log.read_bytes()[before:], seconds=100)
    assert (
        b"websockets" not in service.log.read_bytes()[before:]
    )  # what to install; and anybody could fill the log


def test_an_address_may_be_whole(service: Running) -> None:
    for target, host, expected in (
        ("http://127.0.0.1:1/healthz", "127.0.0.1", 200),
        ("HTTP://localhost/v1/models?x", "evil.example", 422),
        ("http://evil.example/v1/models", "localhost", 403),
        ("http://localhost", "localhost", 200),
    ):
        with connect(service) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            response = HTTPResponse(connection)
            response.begin()
            assert response.status == expected, target


def test_a_body_in_tiny_chunks_is_refused(service: Running) -> None:
    with connect(service) as connection, suppress(ConnectionError):
        connection.sendall((POST + "Transfer-Encoding: chunked\r\n\r\n").encode() + b"1\r\nx\r\n" * 20_000)
        assert answer_on(connection)[:2] == (400, "bad_request")


def test_a_body_that_nobody_reads_is_not_read_for_ever(service: Running) -> None:
    with connect(service) as connection:
        connection.sendall(b"PUT /v1/tags HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 400 * 2**20:
                connection.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
                sent += 2**20
        assert sent < 200 * 2**20


# --- uploads ---


def test_stalled_uploads_take_no_place(service: Running, tower: bytes) -> None:
    held = [connect(service) for _ in range(100)]
    for connection in held:
        connection.sendall((POST + "Content-Length: 5000\r\n\r\n").encode() + tower[:3])
    until(lambda: _tag(service, tower) == 200, seconds=100)
    assert [_tag(service, tower) for _ in range(5)] == [200] * 5
    for connection in held:
        connection.close()


def test_a_slow_upload_takes_its_time_and_a_stalled_one_is_ended(model: Path, tower: bytes) -> None:
    flags = ["--request-seconds", 2, "--decode-seconds", 2, "--stall-seconds", 2, "--upload-rate", 1000]
    body = tower + bytes(20_000)
    with serving("--model", model, "--workers", 1, *flags) as running:
        with connect(running) as slow:
            slow.sendall((POST + f"Content-Length: {len(body)}\r\n\r\n").encode())
            started = time.monotonic()
            for at in range(0, len(body), 2000):
                slow.sendall(body[at : at + 2000])
                time.sleep(0.3)
            assert time.monotonic() - started > 2.5
            assert slow.recv(12) == b"HTTP/1.1 200"
        with connect(running) as stalled:
            stalled.sendall((POST + "Content-Length: 50000\r\n\r\n").encode())
            started = time.monotonic()
            with suppress(ConnectionError):
                while time.monotonic() - started < 30:
                    stalled.sendall(b"x" * 10)
                    time.sleep(0.1)
                    stalled.settimeout(0.01)
                    with suppress(TimeoutError):
                        if stalled.recv(12, socket.MSG_PEEK):
                            break
            stalled.settimeout(30)
            assert answer_on(stalled)[:2] == (408, "request_timeout")
            assert time.monotonic() - started < 15


def _tag(running: Running, picture: bytes, source: str = HONEST) -> int:
    connection = HTTPConnection("127.0.0.1", port_of(running), timeout=60, source_address=(source, 0))
    try:
        connection.request("POST", "/v1/tags", picture, {"Content-Type": "image/png"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_client_that_leaves_is_not_served(model: Path, tower: bytes) -> None:
    with serving("--model", model, "--workers", 1) as running:
        (worker,) = running.workers()
        os.kill(worker, signal.SIGSTOP)
        left = []
        for _ in range(20):
            connection = connect(running)
            connection.sendall((POST + f"Content-Length: {len(tower)}\r\n\r\n").encode() + tower)
            left.append(connection)
        count = lambda text: text in httpx.get(f"{running.address}/metrics").text  # noqa: E731
        until(lambda: count("landmarks_pictures_inside 20.0"), seconds=100)
        for connection in left:
            connection.close()
        until(lambda: count("landmarks_pictures_inside 0.0"), seconds=100)
        assert count("landmarks_pictures_waiting 0.0")
        os.kill(worker, signal.SIGCONT)
        assert _tag(running, tower) == 200
        text = httpx.get(f"{running.address}/metrics").text
        assert 'landmarks_requests_total{route="/v1/tags",status="499"} 20.0' in text
        assert 'landmarks_pictures_total{outcome="tagged"} 1.0' in text


def test_who_was_alone_for_long_does_not_wait_when_another_comes(service: Running, tower: bytes) -> None:
    end = time.monotonic() + 3
    with connect(service, HONEST) as busy:
        while time.monotonic() < end:
            busy.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            received = b""
            while received.count(b"HTTP/1.1 200") < 50:
                received += busy.recv(65536)
    with connect(service, "127.0.3.1"):
        started = time.monotonic()
        assert _tag(service, tower) == 200
        assert time.monotonic() - started < 2


# --- the end ---


def test_a_stalled_upload_does_not_hold_the_stop(model: Path, tower: bytes) -> None:
    with serving("--model", model, "--workers", 1) as running, connect(running) as stalled:
        stalled.sendall((POST + "Content-Length: 5000\r\n\r\n").encode() + tower[:20])
        time.sleep(0.3)
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert answer_on(stalled)[:2] == (503, "unavailable")
        assert running.process.wait(100) == 0
        assert time.monotonic() - started < 8


def test_what_waits_in_the_backlog_is_answered_at_the_stop(model: Path, tower: bytes) -> None:
    with serving("--model", model, "--workers", 1, "--queue", 128) as running:
        os.kill(running.process.pid, signal.SIGSTOP)  # so that all of them wait for the accept
        waiting = []
        for number in range(60):
            connection = connect(running, f"127.0.1.{number + 1}")
            connection.sendall((POST + f"Content-Length: {len(tower)}\r\n\r\n").encode() + tower)
            waiting.append(connection)
        running.process.send_signal(signal.SIGTERM)
        os.kill(running.process.pid, signal.SIGCONT)
        statuses = Counter(connection.recv(12)[-3:] for connection in waiting)
        assert sum(statuses.values()) == 60
        assert set(statuses) <= {b"200", b"503"}
        assert running.process.wait(120) == 0
        for connection in waiting:
            connection.close()


# --- one hostile client and sixteen honest ones ---

LARGEST_SHARE = 0.6
"""Of a core; the limit is a third."""


@contextmanager
def hostile(running: Running, start: bytes, piece: bytes) -> Iterator[None]:
    """A hostile client at work in a process of its own."""
    port = port_of(running)
    process = get_context("spawn").Process(target=attack_for_ever, args=(port, start, piece), daemon=True)
    process.start()
    try:
        until(lambda: _connected(port), seconds=100)
        yield
        assert process.is_alive(), "the hostile client gave up"
    finally:
        process.kill()
        process.join()


def _connected(port: int) -> bool:
    """Whether the hostile client has connected: 127.0.0.30 to this port, as the kernel lists it."""
    listed = Path("/proc/net/tcp").read_text().splitlines()
    return any("1E00007F" in line.split()[1] and line.split()[2].endswith(f":{port:04X}") for line in listed[1:])


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_work_in_threads_counts_for_the_share_too(service: Running) -> None:
    tags = [{"name": f"tower {number}", "level": "landmark", "probability": 1} for number in range(5)]
    body = json.dumps({"photos": [{"file": "a.jpg", "tags": tags}] * 200})
    ended = threading.Event()

    def ask() -> None:
        with closing(HTTPConnection("127.0.0.1", port_of(service), source_address=("127.0.0.31", 0))) as client:
            while not ended.is_set():
                client.request("POST", "/v1/xmp", body, {"Content-Type": "application/json"})
                client.getresponse().read()

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        share = _share(service)
        ended.set()
        for each in asking:
            each.result()
    assert share < LARGEST_SHARE


def _share(running: Running, tries: int = 3) -> float:
    """How much of a core the service takes while it answers this test now and then, and somebody else.

    The least of several times: where this test itself must wait for a core, the other client is alone for a while
    and may have everything.
    """
    shares = []
    while len(shares) < tries and min(shares, default=1.0) >= LARGEST_SHARE:
        _answers_for(running, 0.5)
        before, started = processor_seconds(running.process.pid), time.monotonic()
        _answers_for(running, 1.5)
        shares.append((processor_seconds(running.process.pid) - before) / (time.monotonic() - started))
    return min(shares)


def _answers_for(running: Running, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert _answers(running)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def late_alone(service: Running, tower: bytes) -> float:
    return _late(service, tower)


@pytest.mark.parametrize("kind", [*ATTACKS, "many pictures"])
def test_a_hostile_client_gets_its_share_and_sixteen_honest_ones_hardly_notice(
    service: Running, tower: bytes, late_alone: float, kind: str
) -> None:
    """The service answers them in less than five times the time that they take alone."""
    # Other processes may take the cores for a while, which no limit of ours can help: the best of five counts.
    times = []
    picture = (POST + f"Content-Length: {len(tower)}\r\n\r\n").encode() + tower
    for again in range(5):
        alone = _late(service, tower) if again else late_alone
        with hostile(service, *ATTACKS.get(kind, (b"", picture))):
            if kind in ATTACKS and not again:
                share = _share(service)
                print(f"{kind}: {share:.2f} of a core")
                assert share < LARGEST_SHARE
            beside = _late(service, tower)
        print(f"{kind}: p99 alone {alone * 1000:.0f} ms, beside it {beside * 1000:.0f} ms")
        times.append(beside / max(alone, 0.2))
        # Threads of this test and the service share the machine, so what is asserted is wide of what is measured
        # by `benchmarks/serve.py hostile`.
        if times[-1] < 5:
            return
    pytest.fail(f"p99 beside a hostile client is {min(times):.1f} times that without")


def _late(running: Running, picture: bytes, seconds: float = 1.0) -> float:
    """The 99th percentile of the times of sixteen clients, each of which must be served."""
    times: list[float] = []
    end = time.monotonic() + seconds

    def ask(number: int) -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            assert _tag(running, picture, f"127.0.2.{number + 1}") == 200
            times.append(time.monotonic() - started)

    with ThreadPoolExecutor(16) as clients:
        for one in [clients.submit(ask, number) for number in range(16)]:
            one.result()
    return sorted(times)[int(len(times) * 0.99)]
