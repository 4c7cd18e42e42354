"""API keys: each has a name and perhaps a rate limit, and only its SHA-256 is stored.

Keys are long random texts, so a plain hash of one cannot be reversed by guessing, unlike that of a password.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import SettingsError
from landmarks.serving.errors import RequestError
from landmarks.serving.settings import Access

_log = logging.getLogger("landmarks.serving")
_LOOK_SECONDS = 1.0  # between two looks at the file of keys
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class ApiKey:
    """A key.

    Attributes:
        name: Name in logs and metrics.
        sha256: Hash of the key, in hexadecimal.
        images_per_minute: Rate limit, at least 1, or None.
    """

    name: str
    sha256: str
    images_per_minute: int | None = None


class Quota:
    """What a client may still send with its key.

    Args:
        key: The key.
        counted: Called with the number of images each time some are accepted.
    """

    def __init__(self, key: ApiKey, counted: Callable[[int], None] = lambda _count: None) -> None:
        self.key = key
        self._counted = counted
        self._left = float(key.images_per_minute or 0)
        self._at = time.monotonic()

    def check(self) -> None:
        """Refuse a request that is over the rate limit.

        Raises:
            RequestError: The key has used up its rate.
        """
        rate = self.key.images_per_minute
        if rate is None:
            return
        self._refill(rate)
        if self._left < 1:
            raise RequestError(
                "rate_limited",
                f"the key {self.key.name} may send {rate} images per minute: send the request again later",
                retry_after=math.ceil((1 - self._left) * 60 / rate),
            )

    @contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Count images unless an error ends the block: what is refused does not count.

        A request may exceed the rate, and the next one waits for it.

        Raises:
            RequestError: The key has used up its rate, also by what other blocks may still accept.
        """
        self.check()
        self._left -= count
        try:
            yield
        except BaseException:
            self._left += count
            raise
        self._counted(count)

    def _refill(self, rate: int) -> None:
        now = time.monotonic()
        self._left = min(float(rate), self._left + (now - self._at) * rate / 60)
        self._at = now


class KeyRing:
    """The keys of a service; a changed file of keys is read again.

    An emptied file lets nobody in any more. One that is missing or broken changes nothing, as while an editor
    replaces it; the error goes to the log.

    Args:
        access: Access rules.
        counted: Called with the name of a key and the number of images it sends.

    Raises:
        SettingsError: The file of keys cannot be read, there is none in it, or an entry is wrong.
    """

    def __init__(self, access: Access, counted: Callable[[str, int], None] = lambda _name, _count: None) -> None:
        self._file = access.keys_file
        self._counted = counted
        key = access.api_key
        self._own = () if key is None else (ApiKey("default", hash_of(key)),)
        self._state = self._stat()
        self._looked = time.monotonic()
        self._quotas: dict[str, Quota] = {}
        keys = self._read()
        if self._file is not None and keys == self._own:
            raise SettingsError(f"{_where(self._file)}: there is no key in it: nobody could send anything")
        self._use(keys)

    @property
    def open(self) -> bool:
        """Whether requests need no key."""
        return self._file is None and not self._own

    def find(self, given: str) -> Quota | None:
        """Return the quota of a key, or None if there is no such key."""
        self._look()
        digest = hash_of(given)
        found = None
        for quota in self._quotas.values():  # all of them, so that the time does not tell which one it was
            if hmac.compare_digest(digest, quota.key.sha256):
                found = quota
        return found

    def _look(self) -> None:
        if self._file is None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._use(self._read())
        except SettingsError as error:
            reason = str(error).removeprefix(f"{_where(self._file)}: ")
            told = {"file": str(self._file), "reason": reason}
            _log.error("the API keys could not be read again: those before remain valid", extra=told)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            stat = None if self._file is None else self._file.stat()
        except OSError:
            return None
        return None if stat is None else (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)

    def _read(self) -> tuple[ApiKey, ...]:
        if self._file is None:
            return self._own
        keys = (*self._own, *read_keys(self._file))
        names: dict[str, str] = {}
        for key in keys:
            if (first := names.setdefault(key.sha256, key.name)) != key.name:
                raise SettingsError(f"{_where(self._file)}: {first} and {key.name} are the same key: remove one")
        return keys

    def _use(self, keys: tuple[ApiKey, ...]) -> None:
        before = self._quotas
        self._quotas = {
            key.name: before[key.name] if key.name in before and before[key.name].key == key else self._new(key)
            for key in keys
        }

    def _new(self, key: ApiKey) -> Quota:
        return Quota(key, lambda count: self._counted(key.name, count))


def hash_of(key: str) -> str:
    """Return the stored form of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Read a TOML file with a table for each key: its name, `sha256`, and perhaps `images_per_minute`.

    Raises:
        SettingsError: It cannot be read, or an entry is wrong.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_where(file)}: it cannot be read as TOML: {error}") from error
    return tuple(_key(file, name, table) for name, table in tables.items())


def _where(file: Path) -> str:
    return f"`keys_file` {file}"


def _key(file: Path, name: str, table: object) -> ApiKey:
    where = f"{_where(file)}: {name}"
    if not _NAME.fullmatch(name) or name == "default":
        raise SettingsError(f"{where}: a name has letters, digits, - and _, and is not default")
    if not isinstance(table, dict) or set(table) - {"sha256", "images_per_minute"}:
        raise SettingsError(f"{where}: a key has sha256 and perhaps images_per_minute, nothing else")
    digest, rate = table.get("sha256"), table.get("images_per_minute")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise SettingsError(f"{where}: sha256 must be the hash of the key, 64 hexadecimal digits")
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or rate < 1):
        raise SettingsError(f"{where}: images_per_minute must be a number of at least 1, not {rate!r}")
    return ApiKey(name, digest, rate)
