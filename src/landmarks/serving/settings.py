"""The settings of the service: upload and connection limits, access, workers; each checks itself."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from landmarks.errors import SettingsError
from landmarks.imaging.limits import ImageLimits
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.workers import cores

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names under which a machine reaches itself."""


_MAX_DECODED_PIXELS = 64_000_000
"""Most pixels in the memory of a worker: a phone's HEIC fits, and a 200-megapixel JPEG at reduced size."""


_MOST = 10**9
"""Most of anything: what is computed from it still fits into the numbers of clocks and files."""

_WORKERS_PER_CORE = 16
"""Most workers per core: more of them only take memory, about 100 MB each."""

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def is_host(text: str) -> bool:
    """Return whether a text is an address, or could be a host name without a port."""
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return _HOST.fullmatch(text) is not None


def _is_origin(text: str) -> bool:
    """Return whether a browser could send this as the origin of a page (RFC 6454); any other would never match."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.scheme not in _PORTS or port == _PORTS[parts.scheme]:
        return False
    host = f"[{host}]" if ":" in host else host
    return text == f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def _at_least_one(settings: object, name: str) -> None:
    if not 1 <= getattr(settings, name) <= _MOST:
        raise SettingsError(f"`{name}` must be at least 1 and at most {_MOST}, not {getattr(settings, name)}")


def _above_zero(settings: object, name: str) -> None:
    if not 0 < getattr(settings, name) <= _MOST:
        raise SettingsError(f"`{name}` must be above 0 and at most {_MOST:g}, not {getattr(settings, name):g}")


@dataclass(frozen=True)
class Limits:
    """What requests may cost.

    Attributes:
        max_mb: Largest image file, in MiB, above 0.
        max_megapixels: Largest image, width times height in megapixels, above 0; at most 64 are decoded, of a
            JPEG at a reduced size.
        max_files: Maximum images per request, at least 1.
        max_request_mb: Largest request body, in MiB, at least `max_mb`; by default twice that, and at least 1.
        queue: Maximum images in flight, at least `max_files`; more get 429.
        decode_seconds: Time limit for one image, above 0; a worker that takes longer is replaced.
        request_seconds: Time limit for the response once the upload is complete, at least `decode_seconds`.
        upload_bytes_per_second: Minimum upload rate in bytes per second, at least 1, measured over
            `stall_seconds`; an upload that keeps it may take as long as it needs.
        stall_seconds: How long an upload may stay below its minimum rate, above 0.

    Raises:
        SettingsError: A limit is out of range.
    """

    max_mb: float = 50.0
    max_megapixels: float = 200.0
    max_files: int = 32
    max_request_mb: float | None = None
    queue: int = 64
    decode_seconds: float = 10.0
    request_seconds: float = 30.0
    upload_bytes_per_second: int = 2048
    stall_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_files", "upload_bytes_per_second"):
            _at_least_one(self, name)
        for name in ("max_mb", "max_megapixels", "decode_seconds", "request_seconds", "stall_seconds"):
            _above_zero(self, name)
        if self.max_request_mb is not None:
            _above_zero(self, "max_request_mb")
        if self.max_request_mb is not None and not self.max_request_mb >= self.max_mb:
            raise SettingsError(
                f"`max_request_mb` must have room for an image of `max_mb`, which is {self.max_mb:g}, "
                f"not {self.max_request_mb:g}"
            )
        if self.queue < self.max_files:
            raise SettingsError(
                f"`queue` must have room for the images of a request (`max_files`), which are {self.max_files}, "
                f"not for {self.queue}"
            )
        if self.request_seconds < self.decode_seconds:
            raise SettingsError(
                f"`request_seconds` must be at least `decode_seconds`, which is {self.decode_seconds:g}, "
                f"not {self.request_seconds:g}"
            )

    @property
    def max_file_bytes(self) -> int:
        """Largest image file, in bytes."""
        return int(self.max_mb * 2**20)

    @property
    def max_request_bytes(self) -> int:
        """Largest body, in bytes."""
        return int((self.max_request_mb or max(2 * self.max_mb, 1.0)) * 2**20)

    @property
    def image(self) -> ImageLimits:
        """The limits of one picture."""
        pixels = int(self.max_megapixels * 1e6)
        return ImageLimits(self.max_file_bytes, pixels, min(pixels, _MAX_DECODED_PIXELS))


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection, and all those of one client, may cost before any request is understood.

    A client is an IPv4 address or an IPv6 /64.

    Attributes:
        connections: Maximum open connections, at least 1.
        client_connections: Maximum open connections per client, at least 1.
        header_bytes: Largest request header, in bytes, at least 1024.
        header_seconds: Time limit for receiving the request header, above 0; also how long a new connection may
            stay silent.
        idle_seconds: How long an idle connection stays open, above 0; one of a proxy at least 75.
        send_seconds: Longest time in which a client takes next to nothing of its answer, above 0.
        loop_share: Share of the server's own processor time that one client may use while others use some,
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
        keys_file: TOML file of named API keys, stored as hashes, with rate limits; read again when it changes.
        hosts: Host names a request may be addressed to, without port; empty for any. A page of another site
            that has its name resolve to this machine is refused by it (DNS rebinding).
        origins: Origin whose pages may ask and read the answers (CORS).
        proxies: Address or network of a proxy whose `X-Forwarded-For` is believed, and which is not limited as one
            client itself.

    Raises:
        SettingsError: The key is too short or not plain text, or a host, an origin or a proxy is not one.
    """

    api_key: str | None = field(default=None, repr=False)
    keys_file: Path | None = None
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
        for host in self.hosts:
            if not is_host(host):
                raise SettingsError(
                    "`hosts` must be a host name such as photos.example, without https://, port or path, "
                    f"not {host!r}"
                )
        for origin in self.origins:
            if not _is_origin(origin):
                raise SettingsError(
                    "`origins` must be an origin as browsers send it, such as https://photos.example or "
                    f"http://localhost:3000: in lower case, without the usual port and a path, not {origin!r}"
                )
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise SettingsError(f"`proxies` must be an address or a network, not {proxy!r}") from error


@dataclass(frozen=True)
class JobLimits:
    """Batch jobs: whether there are any, and what they may cost.

    Attributes:
        path: File that keeps jobs with their images until these are analysed; without it there are no jobs.
        job_hours: Hours for which the results of a finished job are kept, above 0.
        job_files: Maximum images per job, at least 1.
        job_mb: Maximum size of all images that wait in jobs and results that are kept, in MiB, above 0.

    Raises:
        SettingsError: A limit is out of range.
    """

    path: Path | None = None
    job_hours: float = 24.0
    job_files: int = 1000
    job_mb: float = 2048.0

    def __post_init__(self) -> None:
        _at_least_one(self, "job_files")
        for name in ("job_hours", "job_mb"):
            _above_zero(self, name)


@dataclass(frozen=True)
class ServeSettings:
    """Everything a service is told.

    Attributes:
        model: Model folder, of the default model.
        tags: What is asked of the tagger.
        workers: Processes per model that decode and recognise, at least 1, at most 16 per core.
        limits: What requests may cost.
        access: Who may ask.
        connections: What connections may cost.
        more_models: Folders of further models, which requests ask for by name.
        reload_seconds: Time between two looks at the model folders, at least 0; a model whose folder has changed
            is reloaded. 0 for never.
        jobs: Batch jobs.

    Raises:
        SettingsError: A value is out of range.
    """

    model: Path
    tags: TagSettings = field(default_factory=TagSettings)
    workers: int = field(default_factory=cores)
    limits: Limits = Limits()
    access: Access = Access()
    connections: ConnectionLimits = ConnectionLimits()
    more_models: tuple[Path, ...] = ()
    reload_seconds: float = 2.0
    jobs: JobLimits = JobLimits()

    def __post_init__(self) -> None:
        most = _WORKERS_PER_CORE * cores()
        if not 1 <= self.workers <= most:
            raise SettingsError(
                f"`workers` must be from 1 to {most}, which is {_WORKERS_PER_CORE} per core, not {self.workers}"
            )
        if self.reload_seconds != 0:
            _above_zero(self, "reload_seconds")
