"""Receives requests with a body: slots, bytes and time are limited, and nothing touches the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.imaging.formats import ACCEPTED_FORMATS
from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.admission import Admission, Ticket
from landmarks.serving.settings import Limits

_MAX_NAME = 255  # maximum characters of a file name to return
_RAW = {"", "application/octet-stream", "application/zip", "application/x-zip-compressed"}  # the last on Windows
_WITHOUT_IMAGES = "/v1/xmp"  # what the images of a key do not hold up
_MAX_FIELDS = 32  # besides the files; they are ignored, but many programs send some
_MAX_FIELD_BYTES = 64 * 2**10
STOP_SECONDS = 3.0
"""Seconds that an upload may still take once the service stops."""


@dataclass(frozen=True)
class Upload:
    """An uploaded image.

    Attributes:
        file: The name given by the client, or None; only returned in the answer.
        content: The bytes.
        client: The client that sent it.
    """

    file: str | None
    content: bytes
    client: str = ""


class Intake:
    """Admits requests with a body if there is room, and ends those that stall or that nobody waits for.

    Args:
        app: The next application.
        admission: The slots.
        limits: Limits per request.
        stopping: Notifies uploads when the service stops.
    """

    def __init__(self, app: ASGIApp, admission: Admission, limits: Limits, stopping: Stopping) -> None:
        self._app = app
        self._admission = admission
        self._limits = limits
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise its error."""
        if scope["type"] != "http" or scope["method"] != "POST":
            if scope.get("method") == "HEAD":  # a GET of whose answer the server sends only the head
                scope = {**scope, "method": "GET"}
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (coding := headers.get("content-encoding", "").lower()) not in {"", "identity"}:
            raise RequestError("unsupported_format", f"the body is compressed ({coding[:20]}): send it as it is")
        length = headers.get("content-length", "")
        if length.isdecimal():
            self._check_size(int(length))
        quota = None if scope["path"] == _WITHOUT_IMAGES else scope["state"]["quota"]
        with self._admission.enter(scope["state"]["client"], quota) as ticket:
            ticket.spend = scope["state"]["spend"]
            scope["state"]["ticket"] = ticket
            async with _Visit(receive, send, ticket, self._limits, self._stopping) as visit:
                await self._app(scope, self._counted(visit), visit.send)

    def _counted(self, visit: _Visit) -> Receive:
        async def counted() -> Message:
            message = await visit.receive()
            self._check_size(visit.ticket.size)
            return message

        return counted

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_request_bytes:
            raise RequestError(
                "too_large",
                f"the request is larger than the limit of {self._limits.max_request_bytes / 2**20:.0f} MiB: "
                "send fewer or smaller pictures",
            )


class Stopping:
    """Whether the service is stopping; uploads then have a few seconds to finish."""

    def __init__(self) -> None:
        self.begun = False
        self._told: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Stop."""
        self.begun = True
        for tell in list(self._told):
            tell()

    def listen(self, tell: Callable[[], None]) -> None:
        """Register a callback for when the service stops."""
        self._told.add(tell)

    def forget(self, tell: Callable[[], None]) -> None:
        """Unregister a callback."""
        self._told.discard(tell)


class _Visit:
    """One request from its headers to its response, with a timeout that each step resets.

    While the body arrives, each period of `stall_seconds` must bring its share of it. Then `request_seconds`
    apply, and the work ends at once if the client disconnects.
    """

    def __init__(self, receive: Receive, send: Send, ticket: Ticket, limits: Limits, stopping: Stopping) -> None:
        self._receive, self._send = receive, send
        self._limits = limits
        self._stopping = stopping
        self._clock = asyncio.timeout(limits.stall_seconds)
        self._due = round(limits.upload_bytes_per_second * limits.stall_seconds)
        self._came = 0  # bytes since the timeout was set
        self._complete = self._answered = self._left = False
        self._watch: asyncio.Task[Message] | None = None
        self.ticket = ticket

    async def __aenter__(self) -> _Visit:
        await self._clock.__aenter__()
        self._stopping.listen(self._hurry)
        if self._stopping.begun:
            self._hurry()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.forget(self._hurry)
        if self._watch is not None:
            self._watch.cancel()
        try:
            await self._clock.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self._problem() from late

    async def receive(self) -> Message:
        """Return the next part of the body."""
        if self._watch is not None:
            return await asyncio.shield(self._watch)
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.ticket.take_bytes(size)
            self._came += size
            if not message.get("more_body", False):
                self._complete = True
                self._set(self._limits.request_seconds)
                self._watch = asyncio.create_task(self._until_left())
            elif self._came >= self._due and not self._stopping.begun:
                self._came = 0
                self._set(self._limits.stall_seconds)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    async def _until_left(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._answered:
            self._left = True
            self._set(0)
        return message

    def _hurry(self) -> None:
        if not self._complete:
            self._set(STOP_SECONDS)

    def _set(self, seconds: float) -> None:
        if not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time() + seconds)

    def _problem(self) -> Exception:
        """Return the error for the timeout."""
        if self._left:
            return ClientDisconnect()
        if not self._complete and self._stopping.begun:
            return RequestError("unavailable", "the service is shutting down: send it again", retry_after=1)
        if not self._complete:
            rate = f"{self._limits.upload_bytes_per_second} bytes/s"
            return RequestError("request_timeout", f"the upload stalled: less than {rate} came")
        seconds = self._limits.request_seconds
        return RequestError("unavailable", f"there was no answer within {seconds:g} seconds", retry_after=1)


async def read_pictures(request: Request, limits: Limits) -> list[Upload]:
    """Read the images of a request: the files of a form, or the body itself.

    Raises:
        RequestError: There are none, too many, or the body is neither.
    """
    uploads = await read_files(request, limits.max_files)
    ticket: Ticket = request.state.ticket
    ticket.take_places(len(uploads))
    return uploads


async def read_files(request: Request, max_files: int) -> list[Upload]:
    """Read the files of a request without taking slots for them; raises like `read_pictures`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _read_form(request, max_files)
    elif kind.startswith("image/") or kind in _RAW:
        uploads = [Upload(None, await request.body(), request.state.client)]
    else:
        raise RequestError(
            "unsupported_format",
            f"{kind} is not an image: send {ACCEPTED_FORMATS} with Content-Type image/..., or multipart/form-data",
        )
    if not uploads:
        raise RequestError("bad_request", "there is no image in the request: send one or more files")
    return uploads


async def _read_form(request: Request, max_files: int) -> list[Upload]:
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
        if not parser.complete:
            raise RequestError("bad_request", "the form is cut off: its end is missing: send it again")
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [Upload(_name(file.filename or ""), await file.read(), request.state.client) for file in files]
    except UnicodeError as error:
        raise RequestError("bad_request", "the form cannot be read: send its names in UTF-8") from error
    except MultiPartException as error:
        raise RequestError("bad_request", f"the form cannot be read: {error.message}") from error
    finally:
        parser.close()


def _name(given: str) -> str | None:
    """Return a file name without lone surrogates, which some charsets may contain and JSON may not; or None."""
    return given[:_MAX_NAME].encode(errors="replace").decode() or None


class _InMemory(MultiPartParser):
    """A parser whose files never spill to disk; their size is limited beforehand.

    Attributes:
        complete: Whether the end of the form has come.
    """

    spool_max_size = 2**62
    complete = False

    def on_headers_finished(self) -> None:
        """Begin the content of a part; raises `RequestError` for one file too many."""
        try:
            super().on_headers_finished()
        except MultiPartException as error:
            if self._current_files <= self.max_files:
                raise
            message = f"the form has more than {self.max_files} files: send fewer at a time"
            raise RequestError("too_large", message) from error

    def on_end(self) -> None:
        """Note the end."""
        self.complete = True

    def close(self) -> None:
        """Close all files, that of a part which was cut off too."""
        for file in self._files_to_close_on_error:
            file.close()
