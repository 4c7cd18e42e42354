"""What goes wrong with a request: a status, a code for programs, a sentence for people; one JSON shape for all."""

from __future__ import annotations

from collections.abc import Mapping
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
    "too_large",
    "unsupported_format",
    "invalid_parameter",
    "overloaded",
    "internal",
    "worker_lost",
    "unavailable",
]
"""The codes of `error.code`; a new one is a change that users are told of."""

STATUS: dict[Code, int] = {
    "bad_request": 400,
    "damaged_picture": 400,
    "decode_timeout": 400,
    "unauthorized": 401,
    "forbidden_host": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "too_large": 413,
    "unsupported_format": 415,
    "invalid_parameter": 422,
    "overloaded": 429,
    "internal": 500,
    "worker_lost": 503,
    "unavailable": 503,
}
"""The HTTP status of each code (RFC 9110; 429 is of RFC 6585)."""


class RequestError(LandmarksError):
    """A request that is not answered as it was asked.

    Args:
        code: For programs.
        message: One sentence for people.
        retry_after: Seconds after which it is worth asking again, or None.
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


def as_code(text: object) -> Code:
    """Return a code that came from a worker, or `internal` where it is none of ours."""
    return next((code for code in get_args(Code) if code == text), "internal")


def error_body(problem: RequestError) -> dict[str, Any]:
    """Return `{"error": {"code", "message"}}`."""
    return {"error": {"code": problem.code, "message": problem.message}}


def error_response(problem: RequestError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response that tells of a problem."""
    extra = dict(headers or {})
    if problem.retry_after is not None:
        extra["Retry-After"] = str(problem.retry_after)
    if problem.code == "unauthorized":
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(problem), problem.status, extra)
