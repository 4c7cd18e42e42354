"""The fair queue, and the identity of clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest

from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.clients import Clients, client_name, forwarded_client, networks_of
from landmarks.serving.pool.fair_queue import FairLine
from landmarks.serving.pool.fair_thread import FairThread
from landmarks.serving.settings import ConnectionLimits


def order(line: FairLine[str], seconds: dict[str, float], count: int) -> list[str]:
    """Take one item after the other, each of which costs its client some seconds."""

    async def work() -> list[str]:
        taken = []
        for _ in range(count):
            client, _ = await line.take()
            taken.append(client)
            line.done(client, seconds[client])
        return taken

    return asyncio.run(work())


def test_one_client_with_many_pictures_does_not_go_before_the_others() -> None:
    line: FairLine[str] = FairLine()
    for number in range(50):
        line.put("many", str(number))
    for client in ("a", "b", "c"):
        line.put(client, "one")
    assert set(order(line, dict.fromkeys(("many", "a", "b", "c"), 0.01), 5)) == {"many", "a", "b", "c"}


def test_heavy_pictures_count_by_their_time() -> None:
    line: FairLine[str] = FairLine()
    for number in range(200):
        line.put("heavy", str(number))
        line.put("light", str(number))
    taken = Counter(order(line, {"heavy": 1.0, "light": 0.05}, 100))
    assert taken["heavy"] <= 6


def test_a_client_does_not_get_a_second_worker_while_others_wait() -> None:
    async def work() -> None:
        line: FairLine[str] = FairLine()
        for number in range(4):
            line.put("many", str(number))
        assert (await line.take())[0] == "many"
        assert (await line.take())[0] == "many"  # nobody else wants the worker
        line.put("one", "x")
        assert (await line.take())[0] == "one"
        assert len(line) == 2

    asyncio.run(work())


def test_who_comes_back_after_a_pause_has_no_credit() -> None:
    line: FairLine[str] = FairLine()
    for number in range(100):
        line.put("steady", str(number))
        line.put("pair", str(number))
    order(line, {"steady": 1.0, "pair": 1.0}, 20)
    for number in range(50):
        line.put("new", str(number))
    assert Counter(order(line, dict.fromkeys(("steady", "pair", "new"), 1.0), 30))["new"] <= 11


def test_what_is_taken_out_does_not_come_up() -> None:
    line: FairLine[str] = FairLine()
    for item in "abc":
        line.put("one", item)
    line.remove("one", "b")
    line.remove("one", "never there")
    line.remove("nobody", "b")
    assert len(line) == 2

    async def work() -> list[str]:
        return [(await line.take())[1] for _ in range(2)]

    assert asyncio.run(work()) == ["a", "c"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_a_network(address: str, name: str) -> None:
    assert client_name(address) == name


def test_only_a_trusted_proxy_names_another_client() -> None:
    proxies = networks_of(["10.0.0.0/8"])
    assert forwarded_client("192.0.2.1", "198.51.100.9", proxies) == "192.0.2.1"
    assert forwarded_client("10.0.0.1", "198.51.100.9", proxies) == "198.51.100.9"
    assert forwarded_client("10.0.0.1", "made-up, 198.51.100.9, 10.2.3.4", proxies) == "198.51.100.9"
    assert forwarded_client("10.0.0.1", "", proxies) == "10.0.0.1"
    assert forwarded_client("10.0.0.1", "198.51.100.9:5678, 10.2.3.4:80", proxies) == "198.51.100.9"
    assert forwarded_client("10.0.0.1", "[2001:db8::1]:80", proxies) == client_name("2001:db8::1")
    assert forwarded_client("10.0.0.1", "2001:db8::1", proxies) == client_name("2001:db8::1")
    assert forwarded_client("10.0.0.1", "not an address", proxies) == "10.0.0.1"


def test_connections_are_counted_by_client_and_in_all() -> None:
    clients = Clients(ConnectionLimits(connections=5, client_connections=2), ["10.0.0.1"])
    first = clients.enter("192.0.2.1")[0]
    assert first is not None
    assert clients.enter("192.0.2.1")[0] is first
    assert clients.enter("192.0.2.1")[0] is None
    clients.leave(first)
    assert clients.enter("192.0.2.1")[0] is not None
    assert [clients.enter("10.0.0.1")[0] is not None for _ in range(4)] == [True, True, True, False]


def test_a_client_over_its_share_waits_only_while_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5))
    greedy = clients.enter("192.0.2.1")[0]
    assert greedy is not None
    assert clients.delay(greedy, 1000.0) == 0.0
    other = clients.enter("192.0.2.2")[0]
    assert other is not None
    assert clients.delay(greedy, 1.0) == 0.0, "the other has a connection, and uses nothing"
    assert clients.delay(other, 0.001) == 0.0
    assert 0.9 < clients.delay(greedy, 0.5) <= 1.0, "what it used while it was alone nobody has missed"
    later = time.monotonic() + 1.1
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert clients.delay(greedy, 0.5) == 0.0


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
def test_a_proxy_never_waits(address: str) -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5), [address])
    proxy, other = clients.enter(address)[0], clients.enter("192.0.2.2")[0]
    assert proxy is not None
    assert other is not None
    clients.delay(other, 0.001)
    assert clients.delay(proxy, 10.0) == 0.0


def test_clients_behind_a_proxy_have_a_share_and_a_limit_each() -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5, client_connections=2), ["10.0.0.1"])
    proxy = clients.enter("10.0.0.1")[0]
    assert proxy is not None
    greedy = clients.behind("192.0.2.1")
    clients.delay(proxy, 0.001)
    assert clients.delay(greedy, 10.0) == 0.0, "nobody else is there, only the proxy that it comes through"
    clients.delay(clients.behind("192.0.2.2"), 0.001)
    assert 0.9 < clients.delay(greedy, 0.5) <= 1.0
    assert clients.behind("192.0.2.1") is greedy
    with pytest.raises(RequestError, match="too many connections"):
        clients.behind("192.0.2.1")
    clients.end(greedy)
    assert clients.behind("192.0.2.1") is greedy


def test_a_client_that_comes_back_still_owes_what_it_used() -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5))
    other, greedy = clients.enter("192.0.2.2")[0], clients.enter("192.0.2.1")[0]
    assert other is not None
    assert greedy is not None
    clients.delay(other, 0.001)
    clients.delay(greedy, 1.0)
    clients.leave(greedy)
    again = clients.enter("192.0.2.1")[0]
    assert again is not None
    assert 1.5 < clients.delay(again, 0.0) < 3.0


def test_connections_without_a_request_make_their_client_wait_before_more_are_opened() -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5, client_connections=2))
    honest = clients.enter("192.0.2.2")[0]
    assert honest is not None
    clients.delay(honest, 0.001)
    waits = []
    for _ in range(1000):
        opened, wait = clients.enter("192.0.2.1")
        assert opened is not None
        waits.append(wait)
        clients.leave(opened)
    assert waits[:50] == [0.0] * 50
    assert waits[-1] > 0.1
    assert clients.delay(honest, 0.001) == 0.0


def test_connections_that_are_refused_cost_their_client_its_share_too() -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5, client_connections=1))
    honest, greedy = clients.enter("192.0.2.2")[0], clients.enter("192.0.2.1")[0]
    assert honest is not None
    assert greedy is not None
    clients.delay(honest, 0.001)
    refused = [clients.enter("192.0.2.1") for _ in range(1000)]
    assert all(account is None for account, _ in refused)
    assert refused[0][1] == 0.0
    assert refused[-1][1] > 0.0
    clients.leave(greedy)
    again, wait = clients.enter("192.0.2.1")
    assert again is not None
    assert wait > 0.0


def test_a_client_that_has_left_is_soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(ConnectionLimits(loop_share=0.5))
    gone, alone = clients.enter("192.0.2.1")[0], clients.enter("192.0.2.2")[0]
    assert gone is not None
    assert alone is not None
    clients.delay(gone, 1.0)
    clients.leave(gone)
    assert clients.delay(alone, 1.0) > 1.5, "who closes between two requests still counts"
    later = time.monotonic() + 5
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert clients.delay(alone, 1.0) == 0.0


def test_work_in_the_thread_is_charged_and_clients_take_turns() -> None:
    done: list[str] = []
    spent: list[float] = []

    def work(client: str) -> str:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        done.append(client)
        return client

    async def run() -> list[str]:
        thread = FairThread()
        asked = [
            thread.run(client, partial(work, client), spent.append) for client in ("many", "many", "many", "one")
        ]
        return await asyncio.gather(*asked)

    assert asyncio.run(run()) == ["many", "many", "many", "one"]
    assert done == ["many", "one", "many", "many"]
    assert all(seconds >= 0.02 for seconds in spent)
    assert len(spent) == 4


def test_work_that_fails_or_that_nobody_waits_for_ends_no_other() -> None:
    began = threading.Event()
    ended = threading.Event()
    done: list[Any] = []

    def hold() -> None:
        began.set()
        ended.wait(10)

    async def run() -> None:
        thread = FairThread()
        first = asyncio.create_task(thread.run("a", hold, done.append))
        await asyncio.to_thread(began.wait, 10)
        left = asyncio.create_task(thread.run("a", lambda: done.append("left"), done.append))
        failing = asyncio.create_task(thread.run("a", lambda: 1 // 0, done.append))
        await asyncio.sleep(0)
        for task in (first, left):
            task.cancel()
        ended.set()
        with pytest.raises(ZeroDivisionError):
            await failing
        assert await thread.run("a", lambda: "next", done.append) == "next"

    asyncio.run(run())
    assert "left" not in done
    assert len(done) == 3
