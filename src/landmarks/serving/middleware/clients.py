"""Identifies clients and accounts for the cost of all their connections."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from landmarks.serving.errors import RequestError
from landmarks.serving.settings import ConnectionLimits

_BURST_SECONDS = 0.05
"""CPU time that a client may use in a burst before it is slowed down."""

_CONNECTION_COST = 0.0003
"""CPU time in seconds to accept a connection and to close it, most of it in the operating system."""

_REFUSAL_COST = 0.0001
"""CPU time in seconds to accept a connection and to close it before anything is set up for it."""

_MOST_SECONDS = 10.0
"""How long refused connections make a client wait at most; others may share its address."""

_SCALE_SECONDS = 0.1
"""CPU time over which charges are compared with what the process has taken."""

_MOST_SCALE = 3.0
"""By how much a charge grows at most: other work of the process is not the clients' fault."""

_CONTENDED_SECONDS = 1.0
"""How long after a client's last use of the server's time the others must share it."""

_MANY_GONE = 1000
"""Clients without a connection that are remembered before those that owe nothing are forgotten."""

_MAX_HOPS = 20  # maximum number of `X-Forwarded-For` entries to read

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def too_many_connections() -> RequestError:
    """Return the error of a client that has too many connections."""
    return RequestError("too_many_connections", "there are too many connections", retry_after=5)


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse addresses and networks."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def client_name(address: str) -> str:
    """Return the client of an address: the address itself, or its /64 for IPv6.

    Whoever has one IPv6 address has its whole /64, and could appear as a new client with each request.
    """
    parsed = _parsed(address)
    if parsed is None:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def is_proxy(address: str, proxies: Sequence[Network]) -> bool:
    """Return whether an address is one of the proxies."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in proxies)


def forwarded_client(peer: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """Return the client of a request, looking through trusted proxies.

    Args:
        peer: Address at the other end of the connection.
        forwarded: Value of `X-Forwarded-For`, empty if there is none.
        proxies: Trusted proxies; a client can write anything into the header.
    """
    address = peer
    for hop in reversed(forwarded.split(",")[-_MAX_HOPS:]):
        host = without_port(hop.strip())
        if not is_proxy(address, proxies) or _parsed(host) is None:
            break
        address = host
    return client_name(address)


def without_port(hop: str) -> str:
    """Return a host without the port that it may have: `1.2.3.4:5678`, `[::1]:80`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(_MANY_GONE)
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


@dataclass
class Account:
    """The current cost of one client.

    Attributes:
        name: Name of the client, from `client_name`, or the address of a proxy.
        is_proxy: Whether it is a proxy, which stands for many and is not limited as one client.
        connections: Number of open connections, and of requests in progress through proxies.
    """

    name: str
    is_proxy: bool = False
    connections: int = 0
    _debt: float = 0.0
    _at: float = field(default_factory=time.monotonic)

    def charge(self, seconds: float, share: float) -> float:
        """Add CPU time; return the seconds by which the client exceeds its share."""
        self._debt, self._at = self.debt(share) + seconds, time.monotonic()
        return max(0.0, self._debt - _BURST_SECONDS) / share

    def forgive(self) -> None:
        """Forget what nobody else has missed."""
        self._debt = min(self._debt, _BURST_SECONDS)

    def debt(self, share: float) -> float:
        """Return the CPU time in seconds that the client has used and not yet waited for."""
        return max(0.0, self._debt - (time.monotonic() - self._at) * share)


class _Scale:
    """How much CPU time the process takes for each second that is charged.

    Costs that cannot be measured request by request are charged as constants, which are too low on slow machines.
    """

    def __init__(self) -> None:
        self._scale = 1.0
        self._charged = 0.0
        self._since: float | None = None

    def real(self, seconds: float) -> float:
        """Return the CPU time that a charge stands for."""
        now = time.process_time()
        if self._since is None:  # what the process took to start is nobody's
            self._since = now
        self._charged += seconds
        if now - self._since > _SCALE_SECONDS:
            self._scale = min(max(1.0, (now - self._since) / self._charged), _MOST_SCALE) if self._charged else 1.0
            self._since, self._charged = now, 0.0
        return seconds * self._scale


class Clients:
    """The connections of all clients.

    Args:
        limits: Limits on connections.
        proxies: Proxies, whose connections are not counted as those of one client.
    """

    def __init__(self, limits: ConnectionLimits, proxies: Sequence[str] = ()) -> None:
        self.limits = limits
        self._proxies = networks_of(proxies)
        self._accounts: dict[str, Account] = {}
        self._gone: dict[str, Account] = {}  # without a connection: who closes and comes back still owes
        self._connections = 0
        self._scale = _Scale()
        self._latest: Account | None = None  # who used the server's time last
        self._latest_at = self._others_at = -math.inf  # when, and when somebody else did

    def enter(self, address: str) -> tuple[Account | None, float]:
        """Count and charge a connection that has been accepted.

        Returns:
            The account to which the connection belongs until `leave`, None if the service or this client has too
            many; and the seconds by which the client exceeds its share, 0 if it may go on at once.
        """
        account = self._account(address if is_proxy(address, self._proxies) else client_name(address))
        over = self._over(account, 0.0)
        full = self._connections >= self.limits.connections or self._has_most(account)
        cost = _REFUSAL_COST if full and over else _CONNECTION_COST
        if over < _MOST_SECONDS:
            account.charge(self._scale.real(cost), self.limits.loop_share)
        if full:
            self._forget_some()
            return None, over
        self._connections += 1
        return self._begin(account), over

    def leave(self, account: Account) -> None:
        """Forget a connection, but not what its client owes."""
        self._connections -= 1
        self.end(account)

    def behind(self, client: str) -> Account:
        """Count a request that came through a proxy like a connection of its client, until `end`.

        Raises:
            RequestError: The client has too many.
        """
        account = self._account(client)
        if self._has_most(account):
            raise too_many_connections()
        return self._begin(account)

    def _account(self, name: str) -> Account:
        known = self._accounts.get(name) or self._gone.get(name)
        if known is None:
            known = self._gone[name] = Account(name, is_proxy(name, self._proxies))
        return known

    def _has_most(self, account: Account) -> bool:
        return account.connections >= self.limits.client_connections and not account.is_proxy

    def _begin(self, account: Account) -> Account:
        self._accounts[account.name] = account
        self._gone.pop(account.name, None)
        account.connections += 1
        return account

    def end(self, account: Account) -> None:
        """Forget a request that came through a proxy, but not what its client owes."""
        account.connections -= 1
        if account.connections == 0:
            self._gone[account.name] = self._accounts.pop(account.name)
            self._forget_some()

    def _forget_some(self) -> None:
        """Forget who has no connection and owes nothing, if there are many."""
        if len(self._gone) > _MANY_GONE:
            share = self.limits.loop_share
            self._gone = {name: one for name, one in self._gone.items() if one.debt(share) > 0}

    def delay(self, account: Account, seconds: float) -> float:
        """Charge a client for CPU time; return how many seconds it has to wait for more.

        Who is alone, or a proxy, never waits, nor later for what it has used meanwhile.
        """
        over = self._over(account, seconds)
        if account.is_proxy:  # beside which the clients behind it are not somebody else
            return over
        if account is not self._latest:
            self._latest, self._others_at = account, self._latest_at
        self._latest_at = time.monotonic()
        return over

    def _over(self, account: Account, seconds: float) -> float:
        over = account.charge(self._scale.real(seconds), self.limits.loop_share)
        others_at = self._others_at if account is self._latest else self._latest_at
        if time.monotonic() - others_at < _CONTENDED_SECONDS and not account.is_proxy:
            return over
        account.forgive()
        return 0.0
