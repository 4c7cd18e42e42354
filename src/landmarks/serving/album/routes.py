"""The routes of a library in the browser."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from landmarks.serving.errors import RequestError
from landmarks.serving.page import page_files

if TYPE_CHECKING:
    from landmarks.serving.album.app import Opened

_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_PICTURES = {"thumbnails": "thumbnail", "previews": "preview", "heatmaps": "heatmap"}

Result = TypeVar("Result")


def album_routes(opened: Opened) -> list[Route]:
    """Return all routes; the files of the page and those it shares with that of the service are read now."""
    routes = [
        Route("/api/library", _Library(opened).get),
        Route("/api/photos", _Photos(opened).all),
        Route("/api/links", _Library(opened).link, methods=["POST"]),
        *(Route(f"/{kind}/{{number:int}}", _picture(opened, kind)) for kind in _PICTURES),
    ]
    routes += [Route(path, file) for path, file in page_files("landmarks.serving.album")]
    routes += [Route(f"/shared{path}", file) for path, file in page_files() if path != "/"]
    return routes


class _Library:
    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def get(self, _request: Request) -> Response:
        """Return what is open, and how far its tagging is."""
        return JSONResponse(self._opened.library())

    async def link(self, request: Request) -> Response:
        """Return a new link, which can be used once."""
        token = self._opened.sessions.link()
        return JSONResponse({"url": f"{self._opened.address(request.headers['host'])}/?token={token}"})


class _Photos:
    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def all(self, request: Request) -> Response:
        """Return the rows of all photos, or of those that have changed."""
        since = _whole(request, "since", None)
        body, headers = await _in_thread(self._opened, lambda: self._packed(since, request))
        return Response(body, media_type="application/json", headers=headers)

    def _packed(self, since: int | None, request: Request) -> tuple[bytes, dict[str, str]]:
        body = self._opened.album.answer(since)
        if len(body) < 1000 or "gzip" not in request.headers.get("accept-encoding", ""):
            return body, {}
        packer = zlib.compressobj(1, wbits=31)  # with the head of gzip
        return packer.compress(body) + packer.flush(), {"Content-Encoding": "gzip"}


def _picture(opened: Opened, kind: str) -> Callable[[Request], Any]:
    async def picture(request: Request) -> Response:
        """Return a picture of a photo; it never changes, as its address has the version of the photo."""
        number = int(request.path_params["number"])
        content = await _in_thread(opened, lambda: getattr(opened, _PICTURES[kind])(number))
        return Response(content, media_type="image/jpeg", headers=_FOREVER)

    return picture


async def _in_thread(opened: Opened, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(opened.threads, work)


def _whole(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise RequestError("invalid_parameter", f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request."""
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise RequestError("bad_request", "the request is not JSON") from error
    if not isinstance(body, dict):
        raise RequestError("bad_request", "the request must be a JSON object")
    return body
