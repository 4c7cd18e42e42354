"""Who may see the library: one-time links, the cookies they are exchanged for, and what each request must have."""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
from collections.abc import Callable

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from landmarks.serving.errors import RequestError, error_response
from landmarks.serving.middleware.security import SAFE, host_name, is_address, is_of_other_site
from landmarks.serving.settings import LOOPBACK

COOKIE_SECONDS = 30 * 24 * 3600
OPEN = (".webmanifest", ".png", ".svg")
"""Endings of what anybody gets: browsers ask for the icons of an installed page without cookies."""


class Sessions:
    """One-time links and sessions.

    Args:
        known: Whether the digest of a session is stored.
        store: Stores the digest of a session, which outlives a restart.
    """

    def __init__(self, known: Callable[[bytes], bool], store: Callable[[bytes], None]) -> None:
        self._known = known
        self._store = store
        self._links: set[bytes] = set()
        self._seen: set[bytes] = set()  # a look into the store per request would be too slow
        self._lock = threading.Lock()

    def link(self, token: str | None = None) -> str:
        """Return the token of a new link, which can be used once: by default a new one."""
        token = token or secrets.token_urlsafe(32)
        with self._lock:
            self._links.add(_digest(token))
        return token

    def exchange(self, token: str) -> str | None:
        """Return the secret of a new session for the token of a link, or None if it is void."""
        with self._lock:
            if _digest(token) not in self._links:
                return None
            self._links.remove(_digest(token))
        secret = secrets.token_urlsafe(32)
        self._store(_digest(secret))
        self._seen.add(_digest(secret))  # also if it could not be stored, as on a full disk
        return secret

    def is_open(self, secret: str) -> bool:
        """Return whether a session is open."""
        digest = _digest(secret)
        if digest not in self._seen and self._known(digest):
            self._seen.add(digest)
        return digest in self._seen


class Door:
    """Refuses requests of other hosts, other pages, and without a session.

    Args:
        app: The next application.
        sessions: The sessions.
        cookie: Name of the cookie.
        host: The address that is listened on.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, cookie: str, host: str) -> None:
        self._app = app
        self._sessions = sessions
        self._cookie = cookie
        # A link for other machines has the name of this one where it has no address in its network.
        self._hosts = {*LOOPBACK, host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        link = scope["path"] == "/" and scope["method"] in {"GET", "HEAD"}
        token = QueryParams(scope["query_string"]).get("token") if link else None
        # Whoever asks for the head only, as programs that preview links do, leaves the link as it is.
        enters = token is not None and scope["method"] == "GET"
        problem = self._foreign(headers) or (None if enters else self._problem(scope, headers))
        if problem is not None:
            await error_response(problem)(scope, receive, send)
        elif token is not None:
            await self._enter(token if enters else "", headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _enter(self, token: str, headers: Headers) -> Response:
        """Exchange the token of a link for a cookie; whoever has one already is led to the page in any case."""
        secret = self._sessions.exchange(token)
        if secret is None and self._is_open(headers):
            return RedirectResponse("/", 303)
        if secret is None:
            return error_response(
                RequestError("unauthorized", "this link was used before: make a new one in an open window")
            )
        answer = RedirectResponse("/", 303)
        # Not "strict", with which a link in web mail leads to a page without its cookie. No GET changes anything.
        answer.set_cookie(self._cookie, secret, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
        return answer

    def _foreign(self, headers: Headers) -> RequestError | None:
        name = host_name(headers.get("host", ""))
        # A page whose name resolves to this machine (DNS rebinding) sends that name, never an address.
        if name not in self._hosts and not is_address(name):
            return RequestError("forbidden_host", "this library does not answer under that host name")
        return None

    def _problem(self, scope: Scope, headers: Headers) -> RequestError | None:
        if scope["method"] in SAFE:
            if scope["path"].endswith(OPEN):
                return None
        elif is_of_other_site(headers):
            return RequestError("forbidden_host", "another page may not change this library")
        elif headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return RequestError("unsupported_format", "send JSON, with Content-Type: application/json")
        if not self._is_open(headers):
            return RequestError(
                "unauthorized", "open the link that landmarks open printed, or make a new link in an open window"
            )
        return None

    def _is_open(self, headers: Headers) -> bool:
        return self._sessions.is_open(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
