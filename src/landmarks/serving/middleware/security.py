"""Access control and security headers."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.serving.errors import ANNOTATE_PATH, RequestError, error_response
from landmarks.serving.middleware.clients import forwarded_client, networks_of, without_port
from landmarks.serving.middleware.keys import KeyRing, Quota
from landmarks.serving.settings import Access

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response."""

PROTECTED = ("/v1/", "/metrics", "/openapi.json")
"""Beginnings of the paths for which a key is needed, if there is one."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

_PROBES = ("/healthz", "/readyz")
"""They reveal nothing, and a probe may use any host name."""


class SecurityHeaders:
    """Adds the security headers to every response, and `no-store` to those without a `Cache-Control`."""

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


class Cors(CORSMiddleware):
    """Lets pages of other origins ask, and refuses in the form of every error.

    Args:
        app: The next application.
        origins: The origins.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                *("Authorization", "Content-Type", "X-API-Key", "X-Goog-Api-Key", "X-Request-ID"),
                *("traceparent", "tracestate"),
            ],
            allow_private_network=True,  # of the named origins: browsers ask for a service in the local network
            expose_headers=["Location", "Retry-After", "X-Request-ID"],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to the question of a browser whether a page may send a request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        reason = bytes(answer.body).decode()
        return error_response(
            RequestError("bad_request", f"pages of other sites may not ask so: {reason}"), headers
        )


class Gate:
    """Identifies the client, and refuses requests for another host, without the API key or of other sites' pages.

    Args:
        app: The next application; `scope["state"]` has the `client`, what charges it for CPU time as `spend`, and
            the `quota` of its key or None.
        access: Access rules.
        keys: The API keys.
    """

    def __init__(self, app: ASGIApp, access: Access, keys: KeyRing) -> None:
        self._app = app
        self._access = access
        self._keys = keys
        self._proxies = networks_of(access.proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise its error."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            scope["state"]["quota"] = None
            scope["state"].setdefault("spend", lambda _seconds: None)  # where no server of ours is around it
            peer = (scope.get("client") or ("",))[0]
            forwarded = ",".join(headers.getlist("x-forwarded-for"))
            scope["state"]["client"] = client = forwarded_client(peer, forwarded, self._proxies)
            if (come_from := scope["state"].get("come_from")) is not None:
                await come_from(client)  # first: what is refused is charged to the client too, not to its proxy
            if scope["path"] not in _PROBES:
                self._check_host(headers)
            if not self._keys.open and scope["path"].startswith(PROTECTED):
                scope["state"]["quota"] = self._quota(headers, _key_parameter(scope))
            elif (
                self._keys.open and scope["method"] not in SAFE and is_of_other_site(headers, self._access.origins)
            ):
                raise RequestError(
                    "forbidden_host", "pages of other sites may not ask without a key: name them with --cors"
                )
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = host_name(headers.get("host", ""))
        # A page whose name resolves to this machine (DNS rebinding) sends that name, never an address.
        if self._access.hosts and host not in self._access.hosts and not is_address(host):
            raise RequestError(
                "forbidden_host", "this service does not answer under that host name: see --allow-host"
            )

    def _quota(self, headers: Headers, parameter: str) -> Quota:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        quota = self._keys.find(given or headers.get("x-api-key") or headers.get("x-goog-api-key") or parameter)
        if quota is None:
            raise RequestError("unauthorized", "send the API key as Authorization: Bearer KEY, or as X-API-Key")
        return quota


def is_of_other_site(headers: Headers, origins: Collection[str] = ()) -> bool:
    """Return whether a page of another site sends a request; programs that are no browser say nothing of it.

    Behind a proxy that changes the host, a current browser still says over HTTPS whether the page is ours.

    Args:
        headers: Headers of the request.
        origins: Origins of pages that may.
    """
    origin = headers.get("origin")
    if origin in origins:
        return False
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in {"same-origin", "none"}
    # A proxy may end TLS, so the scheme tells nothing.
    return origin is not None and origin.partition("://")[2] != headers.get("host", "").lower()


def host_name(header: str) -> str:
    """Return the host of a `Host` header, without port and brackets, in lower case."""
    return without_port(header.strip().lower())


def is_address(host: str) -> bool:
    """Return whether a host is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _key_parameter(scope: Scope) -> str:
    """Return the key in the URL, where Google's clients may put it; no other route accepts it there."""
    if scope["path"] != ANNOTATE_PATH:
        return ""
    return QueryParams(scope["query_string"]).get("key", "")
