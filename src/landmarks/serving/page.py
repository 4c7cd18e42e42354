"""Files of web pages: they are read once, so no path of a request ever reaches the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from landmarks.imaging.formats import PHOTO_SUFFIXES

Endpoint = Callable[[Request], Response]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_START = "index.html"
# Browsers' own lists of images leave out RAW files and what is new.
_SUFFIXES = ",".join(sorted(PHOTO_SUFFIXES)).encode()


def page_files(package: str = "landmarks.serving") -> Iterator[tuple[str, Endpoint]]:
    """Yield path and endpoint of each file of the pages of a package: `/` is index.html, `/docs` is docs.html."""
    folder = resources.files(package).joinpath("static")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == _START else f"/{file.name.removesuffix('.html')}"
            yield path, file_endpoint(file.read_bytes().replace(b"{{suffixes}}", _SUFFIXES), kind)
    land = resources.files("landmarks.geo").joinpath("land.json").read_bytes()
    yield "/land.json", file_endpoint(land, _TYPES[".json"])


def file_endpoint(content: bytes, kind: str) -> Endpoint:
    """Return an endpoint for content of a media type."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # revalidated each time, sent only if changed

    def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return file
