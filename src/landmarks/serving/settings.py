"""What a service is told, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from landmarks.errors import SettingsError
from landmarks.imaging.decoding import ImageLimits
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.workers import cores

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names under which a machine reaches itself."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes:
        max_file_bytes: Largest picture, in bytes, at least 1.
        max_pixels: Most pixels of a picture, width times height, at least 1.
        max_files: Most pictures in a request, at least 1.
        max_request_bytes: Largest body, in bytes, at least `max_file_bytes`.
        decode_seconds: Longest work on one picture, above 0; the process that takes longer is replaced.
        request_seconds: Longest time of a whole request with its upload, at least `decode_seconds`.

    Raises:
        SettingsError: A limit is out of range.
    """

    max_file_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000
    max_files: int = 32
    max_request_bytes: int = 100 * 2**20
    decode_seconds: float = 10.0
    request_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, flag in (
            ("max_file_bytes", "--max-mb"),
            ("max_pixels", "--max-megapixels"),
            ("max_files", "--files"),
        ):
            if getattr(self, name) < 1:
                raise SettingsError(f"{flag} must be at least 1, not {getattr(self, name)}")
        if self.max_request_bytes < self.max_file_bytes:
            raise SettingsError(f"a request must have room for a picture of {self.max_file_bytes} bytes")
        if self.decode_seconds <= 0:
            raise SettingsError(f"--decode-seconds must be above 0, not {self.decode_seconds:g}")
        if self.request_seconds < self.decode_seconds:
            raise SettingsError(
                f"--request-seconds must be at least --decode-seconds, which is {self.decode_seconds:g}, "
                f"not {self.request_seconds:g}"
            )

    @property
    def image(self) -> ImageLimits:
        """The limits of one picture."""
        return ImageLimits(self.max_file_bytes, self.max_pixels)


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        api_key: What every request but those for the page and the health checks must bring; None for no key.
        hosts: Host names a request may be addressed to, without port; empty for any. A page of another site
            that has its name resolve to this machine is refused by it (DNS rebinding).
        origins: Web origins whose scripts may read the answers (CORS); none unless told.

    Raises:
        SettingsError: The key is too short or not plain text, or an origin is not one.
    """

    api_key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

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
                raise SettingsError(f"--cors must be an origin such as https://photos.example, not {origin!r}")


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

    Raises:
        SettingsError: A value is out of range.
    """

    model: Path
    tags: TagSettings = field(default_factory=TagSettings)
    workers: int = field(default_factory=cores)
    queue: int = 64
    limits: Limits = Limits()
    access: Access = Access()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError(f"--workers must be at least 1, not {self.workers}")
        if self.queue < self.limits.max_files:
            raise SettingsError(
                f"--queue must have room for the {self.limits.max_files} pictures of a request (--files), "
                f"not for {self.queue}"
            )
