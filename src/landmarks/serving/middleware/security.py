"""Who may ask, and what browsers are told to refuse."""

from __future__ import annotations

import hmac
import ipaddress

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.serving.errors import ANNOTATE_PATH, RequestError
from landmarks.serving.middleware.clients import forwarded_client, networks_of
from landmarks.serving.settings import Access

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer."""

_PROTECTED = ("/v1/", "/metrics", "/openapi.json")
_PROBES = ("/healthz", "/readyz")
"""They tell nothing, and whoever probes may know the service by any name."""


class SecurityHeaders:
    """Puts the security headers on every answer, and `no-store` on those that do not say how long they keep."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Gate:
    """Refuses requests that are addressed to another host or lack the API key, and says who the client is.

    Args:
        app: What lies behind; it finds the client in `scope["state"]["client"]`.
        access: Who may ask.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._proxies = networks_of(access.proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the problem with it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if scope["path"] not in _PROBES:
                self._check_host(headers)
            if scope["path"].startswith(_PROTECTED):
                self._check_key(headers, _key_parameter(scope))
            peer = (scope.get("client") or ("",))[0]
            forwarded = ",".join(headers.getlist("x-forwarded-for"))
            scope["state"]["client"] = forwarded_client(peer, forwarded, self._proxies)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = host_name(headers.get("host", ""))
        # A page that has its name resolve to this machine (DNS rebinding) comes with that name, never an address.
        if self._access.hosts and host not in self._access.hosts and not _is_address(host):
            raise RequestError(
                "forbidden_host", "this service does not answer under that host name: see --allow-host"
            )

    def _check_key(self, headers: Headers, parameter: str) -> None:
        if self._access.api_key is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        given = given or headers.get("x-api-key") or headers.get("x-goog-api-key") or parameter
        # Compared in a time that does not tell how much of it was right.
        if not hmac.compare_digest(given.encode(), self._access.api_key.encode()):
            raise RequestError("unauthorized", "send the API key as Authorization: Bearer KEY, or as X-API-Key")


def host_name(header: str) -> str:
    """Return the host of a `Host` header, without port and brackets, in lower case."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _key_parameter(scope: Scope) -> str:
    """Return the key in the address, where Google's clients may put it; no other route takes it there."""
    if scope["path"] != ANNOTATE_PATH:
        return ""
    return QueryParams(scope["query_string"]).get("key", "")
