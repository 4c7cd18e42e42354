"""The process of `landmarks open`. It listens and tells its link before it imports what serves."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from importlib.util import find_spec

from landmarks.errors import InputError, StorageError
from landmarks.files.locks import locked
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.listening import listen, url_of

PORT = 8400
"""Port if none is given and it is free."""

_ITSELF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how this machine reaches what listens on all addresses


def run(
    settings: AlbumSettings, host: str, port: int | None, *, started: Callable[[str], None] = lambda _link: None
) -> None:
    """Serve a library until SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: What is opened.
        host: Address to listen on.
        port: Port; 0 for a free one, None for the usual one or, if that is taken, a free one.
        started: Called with a link, which can be used once: a browser starts meanwhile, and its request waits.

    Raises:
        InputError: The folder does not exist, or another process serves it.
        SettingsError: Nothing can listen on this address.
        ModelError: The model folder is damaged.
    """
    # The page of one process would not show the verdicts made on that of another.
    busy = InputError(
        f"{settings.root}: it is open already: use its page, make a link there for another window, or end "
        "the other landmarks open first"
    )
    with ExitStack() as held:
        with suppress(StorageError):  # where nothing can be cached, there is no lock either
            held.enter_context(locked(settings.cache() / "open.lock", busy=busy))
        _serve(settings, host, port, started)


def _serve(settings: AlbumSettings, host: str, port: int | None, started: Callable[[str], None]) -> None:
    for needed in ("starlette", "uvicorn"):
        if find_spec(needed) is None:
            import_module(needed)  # which says so
    with listen(host, PORT if port is None else port, or_free=port is None) as listener:
        token = secrets.token_urlsafe(32)
        started(f"{url_of(listener, _ITSELF.get(host, host))}/?token={token}")
        gc.disable()  # until it serves: what is imported and listed now stays
        try:
            from landmarks.serving.album.app import serve  # noqa: PLC0415

            serve(settings, host, listener, token)
        finally:
            gc.enable()
