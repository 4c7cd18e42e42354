"""Errors of requests: a status, a code for programs, and a sentence for people, in one JSON format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, get_args

from starlette.responses import JSONResponse

from landmarks.errors import LandmarksError

Code = Literal[
    "bad_request",
    "damaged_picture",
    "decode_timeout",
    "unauthorized",
    "forbidden_host",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "conflict",
    "too_large",
    "unsupported_format",
    "invalid_parameter",
    "headers_too_large",
    "overloaded",
    "rate_limited",
    "too_many_connections",
    "internal",
    "worker_lost",
    "unavailable",
]
"""The values of `error.code`; a new one is announced in the changelog."""

STATUS: dict[Code, int] = {
    "bad_request": 400,
    "damaged_picture": 400,
    "decode_timeout": 400,
    "unauthorized": 401,
    "forbidden_host": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "too_large": 413,
    "unsupported_format": 415,
    "invalid_parameter": 422,
    "headers_too_large": 431,
    "overloaded": 429,
    "rate_limited": 429,
    "too_many_connections": 429,
    "internal": 500,
    "worker_lost": 503,
    "unavailable": 503,
}
"""HTTP status of each code (RFC 9110; 429 and 431 are from RFC 6585)."""

ANNOTATE_PATH = "/v1/images:annotate"
"""Path of requests, and errors, in Google's format."""

_INVALID = "INVALID_ARGUMENT"
GOOGLE: dict[Code, tuple[int, str]] = {
    "decode_timeout": (4, "DEADLINE_EXCEEDED"),
    "request_timeout": (4, "DEADLINE_EXCEEDED"),
    "not_found": (5, "NOT_FOUND"),
    "forbidden_host": (7, "PERMISSION_DENIED"),
    "overloaded": (8, "RESOURCE_EXHAUSTED"),
    "rate_limited": (8, "RESOURCE_EXHAUSTED"),
    "too_many_connections": (8, "RESOURCE_EXHAUSTED"),
    "method_not_allowed": (12, "UNIMPLEMENTED"),
    "internal": (13, "INTERNAL"),
    "worker_lost": (14, "UNAVAILABLE"),
    "unavailable": (14, "UNAVAILABLE"),
    "unauthorized": (16, "UNAUTHENTICATED"),
}
"""Number and name in google.rpc.Code; all others are 3, INVALID_ARGUMENT."""


def google_code(code: Code) -> tuple[int, str]:
    """Return number and name of a code in google.rpc.Code."""
    return GOOGLE.get(code, (3, _INVALID))


class RequestError(LandmarksError):
    """A request that fails.

    Args:
        code: Code for programs.
        message: One sentence for people.
        retry_after: Seconds to wait before a retry, or None.
    """

    def __init__(self, code: Code, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def google_status(self) -> int:
        """The HTTP status in the format of Google's services, whose clients know only some."""
        return 400 if google_code(self.code)[1] == _INVALID else self.status


def as_code(text: object) -> Code:
    """Return a code received from a worker, or `internal` if it is unknown."""
    return next((code for code in get_args(Code) if code == text), "internal")


def error_body(problem: RequestError) -> dict[str, Any]:
    """Return `{"error": {"code", "message"}}`."""
    return {"error": {"code": problem.code, "message": problem.message}}


def google_body(problem: RequestError) -> dict[str, Any]:
    """Return the error in the format of Google's services."""
    name = google_code(problem.code)[1]
    return {"error": {"code": problem.google_status, "message": problem.message, "status": name}}


def error_response(
    problem: RequestError, headers: Mapping[str, str] | None = None, *, path: str = ""
) -> JSONResponse:
    """Return the response for an error, in the format of the requested path."""
    extra = dict(headers or {})
    if problem.retry_after is not None:
        extra["Retry-After"] = str(problem.retry_after)
    if problem.code == "unauthorized":
        extra["WWW-Authenticate"] = "Bearer"
    if path == ANNOTATE_PATH:
        return JSONResponse(google_body(problem), problem.google_status, extra)
    return JSONResponse(error_body(problem), problem.status, extra)


def error_bytes(problem: RequestError, headers: Mapping[str, str]) -> bytes:
    """Return a complete HTTP/1.1 response for an error that closes the connection."""
    body = json.dumps(error_body(problem)).encode()
    lines = {
        **headers,
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    if problem.retry_after is not None:
        lines["Retry-After"] = str(problem.retry_after)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    status = HTTPStatus(problem.status)
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body
