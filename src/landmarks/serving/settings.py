"""What a service is told, checked once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from landmarks.errors import SettingsError
from landmarks.imaging.decoding import ImageLimits
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.workers import cores

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names under which a machine reaches itself."""


_MAX_DECODED_PIXELS = 64_000_000
"""Most pixels in the memory of a worker: a phone's HEIC fits, and a 200-megapixel JPEG at reduced size."""


def _at_least_one(settings: object, name: str) -> None:
    if getattr(settings, name) < 1:
        raise SettingsError(f"`{name}` must be at least 1, not {getattr(settings, name)}")


def _above_zero(settings: object, name: str) -> None:
    if not getattr(settings, name) > 0:
        raise SettingsError(f"`{name}` must be above 0, not {getattr(settings, name):g}")


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes:
        max_file_bytes: Largest picture, in bytes, at least 1.
        max_pixels: Most pixels of a picture, width times height, at least 1.
        max_files: Most pictures in a request, at least 1.
        max_request_bytes: Largest body, in bytes, at least `max_file_bytes`.
        decode_seconds: Longest work on one picture, above 0; the process that takes longer is replaced.
        request_seconds: Longest wait for the answer once the upload is complete, at least `decode_seconds`.
        upload_bytes_per_second: Slowest upload, in bytes per second, at least 1. An upload may take as long as it
            needs while it keeps this rate, measured over `stall_seconds`.
        stall_seconds: Longest time in which an upload may fall short of its rate, above 0.

    Raises:
        SettingsError: A limit is out of range.
    """

    max_file_bytes: int = 50 * 2**20
    max_pixels: int = 200_000_000
    max_files: int = 32
    max_request_bytes: int = 100 * 2**20
    decode_seconds: float = 10.0
    request_seconds: float = 30.0
    upload_bytes_per_second: int = 2048
    stall_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pixels", "max_files", "upload_bytes_per_second"):
            _at_least_one(self, name)
        for name in ("decode_seconds", "stall_seconds"):
            _above_zero(self, name)
        if self.max_request_bytes < self.max_file_bytes:
            raise SettingsError(
                f"`max_request_bytes` must have room for a picture of `max_file_bytes`, which is "
                f"{self.max_file_bytes}, not {self.max_request_bytes}"
            )
        if self.request_seconds < self.decode_seconds:
            raise SettingsError(
                f"`request_seconds` must be at least `decode_seconds`, which is {self.decode_seconds:g}, "
                f"not {self.request_seconds:g}"
            )

    @property
    def image(self) -> ImageLimits:
        """The limits of one picture."""
        return ImageLimits(self.max_file_bytes, self.max_pixels, min(self.max_pixels, _MAX_DECODED_PIXELS))


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection, and all those of one client, may cost before any request is understood.

    A client is an IPv4 address or an IPv6 /64.

    Attributes:
        connections: Most connections at a time, at least 1.
        client_connections: Most connections of one client at a time, at least 1.
        header_bytes: Largest head of a request, in bytes, at least 1024.
        header_seconds: Longest time from the first byte of a head to its last, above 0; also how long a new
            connection may stay silent.
        idle_seconds: How long a connection is kept for the next request, above 0.
        send_seconds: Longest time in which a client takes nothing of its answer, above 0.
        loop_share: Share of the server's own processor time that one client may use while others are connected,
            above 0, at most 1.

    Raises:
        SettingsError: A limit is out of range.
    """

    connections: int = 2000
    client_connections: int = 256
    header_bytes: int = 32 * 2**10
    header_seconds: float = 10.0
    idle_seconds: float = 15.0
    send_seconds: float = 20.0
    loop_share: float = 0.33

    def __post_init__(self) -> None:
        for name in ("connections", "client_connections"):
            _at_least_one(self, name)
        for name in ("header_seconds", "idle_seconds", "send_seconds"):
            _above_zero(self, name)
        if self.header_bytes < 1024:
            raise SettingsError(f"`header_bytes` must be at least 1024, not {self.header_bytes}")
        if not 0 < self.loop_share <= 1:
            raise SettingsError(f"`loop_share` must lie above 0 and be at most 1, not {self.loop_share:g}")


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        api_key: What every request but those for the page and the health checks must bring; None for no key.
        hosts: Host names a request may be addressed to, without port; empty for any. A page of another site
            that has its name resolve to this machine is refused by it (DNS rebinding).
        origins: Web origins whose scripts may read the answers (CORS); none unless told.
        proxies: Addresses or networks of proxies in front. Their `X-Forwarded-For` names the client, and they are
            not limited as one client themselves.

    Raises:
        SettingsError: The key is too short or not plain text, or an origin or a proxy is not one.
    """

    api_key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and not (len(key) >= 16 and key.isascii() and key.isprintable() and " " not in key):
            raise SettingsError(
                "the API key must have at least 16 plain characters without spaces: "
                "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            )
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise SettingsError(f"`cors` must be an origin such as https://photos.example, not {origin!r}")
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise SettingsError(f"`proxy` must be an address or a network, not {proxy!r}") from error


@dataclass(frozen=True)
class ServeSettings:
    """Everything a service is told.

    Attributes:
        model: Model folder.
        tags: What is asked of the tagger.
        workers: Processes that decode and recognise, at least 1.
        queue: Most pictures that are in the service at a time, at least `limits.max_files`; what comes on top
            is told to come again later.
        limits: What one request may cost.
        access: Who may ask.
        connections: What connections may cost.

    Raises:
        SettingsError: A value is out of range.
    """

    model: Path
    tags: TagSettings = field(default_factory=TagSettings)
    workers: int = field(default_factory=cores)
    queue: int = 64
    limits: Limits = Limits()
    access: Access = Access()
    connections: ConnectionLimits = ConnectionLimits()

    def __post_init__(self) -> None:
        _at_least_one(self, "workers")
        if self.queue < self.limits.max_files:
            raise SettingsError(
                f"`queue` must have room for the pictures of a request (`files`), which are "
                f"{self.limits.max_files}, not for {self.queue}"
            )
