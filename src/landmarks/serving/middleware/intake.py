"""How requests with a body come in: places, bytes and time are limited, and nothing touches the disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.imaging.formats import ACCEPTED_FORMATS
from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.admission import Admission, Ticket
from landmarks.serving.settings import Limits

_MAX_NAME = 255  # characters of a file name that are given back


@dataclass(frozen=True)
class Upload:
    """A picture as it came.

    Attributes:
        file: The name the client gave it, or None; told back, and used for nothing else.
        content: The bytes.
    """

    file: str | None
    content: bytes


class Intake:
    """Lets requests with a body in, as far as there is room, and ends those that take too long.

    Args:
        app: What lies behind.
        admission: The places.
        limits: What one request may cost.
    """

    def __init__(self, app: ASGIApp, admission: Admission, limits: Limits) -> None:
        self._app = app
        self._admission = admission
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the problem with it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal():
            self._check_size(int(length))
        with self._admission.enter() as ticket:
            scope["state"]["ticket"] = ticket
            complete = False

            async def counted() -> Message:
                nonlocal complete
                message = await receive()
                if message["type"] == "http.request":
                    ticket.take_bytes(len(message.get("body", b"")))
                    self._check_size(ticket.size)
                    complete = not message.get("more_body", False)
                return message

            try:
                async with asyncio.timeout(self._limits.request_seconds):
                    await self._app(scope, counted, send)
            except TimeoutError as error:
                seconds = f"{self._limits.request_seconds:g} seconds"
                if not complete:
                    raise RequestError("request_timeout", f"the upload took longer than {seconds}") from error
                raise RequestError(
                    "unavailable",
                    f"there was no answer within {seconds}",
                    retry_after=self._admission.retry_after(),
                ) from error

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_request_bytes:
            raise RequestError(
                "too_large",
                f"the request is larger than the limit of {self._limits.max_request_bytes / 2**20:.0f} MiB: "
                "send fewer or smaller pictures",
            )


async def read_pictures(request: Request, limits: Limits) -> list[Upload]:
    """Read the pictures of a request: the files of a form, or the body itself.

    Raises:
        RequestError: There are none, too many, or the body is neither.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _read_form(request, limits)
    elif kind.startswith("image/") or kind in {"", "application/octet-stream"}:
        uploads = [Upload(None, await request.body())]
    else:
        raise RequestError(
            "unsupported_format",
            f"{kind} is no picture: send {ACCEPTED_FORMATS} with Content-Type image/..., or multipart/form-data",
        )
    if not uploads:
        raise RequestError("bad_request", "there is no picture in the request: send one or more files")
    ticket: Ticket = request.state.ticket
    ticket.take_places(len(uploads) - 1)
    return uploads


async def _read_form(request: Request, limits: Limits) -> list[Upload]:
    parser = _InMemory(request.headers, request.stream(), max_files=limits.max_files, max_fields=0)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError("bad_request", f"the form cannot be read: {error.message}") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [Upload((file.filename or "")[:_MAX_NAME] or None, await file.read()) for file in files]
    finally:
        await form.close()


class _InMemory(MultiPartParser):
    """A parser whose files never spill to the disk; how large they may be is limited before it."""

    spool_max_size = 2**62
