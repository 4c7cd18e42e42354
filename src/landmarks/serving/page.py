"""The web page: its files are read once, so no path of a request ever reaches the disk."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

from landmarks.imaging.formats import PHOTO_SUFFIXES

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_START = "index.html"
# Browsers' own lists of images leave out RAW files and what is new.
_SUFFIXES = ",".join(sorted(PHOTO_SUFFIXES)).encode()


def page_router() -> APIRouter:
    """Return a router with one route for each file of the pages: `/` is the start page, and `/docs` the API's."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("landmarks.serving").joinpath("static")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == _START else f"/{file.name.removesuffix('.html')}"
            _add(router, path, file.read_bytes().replace(b"{{suffixes}}", _SUFFIXES), kind)
    _add(
        router, "/land.json", resources.files("landmarks.geo").joinpath("land.json").read_bytes(), _TYPES[".json"]
    )
    return router


def _add(router: APIRouter, path: str, content: bytes, kind: str) -> None:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # revalidated each time, sent only if changed

    def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    router.add_api_route(path, file, methods=["GET", "HEAD"])
