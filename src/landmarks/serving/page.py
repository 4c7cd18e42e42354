"""Files of web pages: they are read once, so no path of a request ever reaches the disk."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from landmarks.imaging.formats import PHOTO_SUFFIXES

Endpoint = Callable[[Request], Response]

START = "/"
"""Path of index.html."""

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
# Browsers' own lists of images leave out RAW files and what is new.
_SUFFIXES = ",".join(sorted(PHOTO_SUFFIXES)).encode()
_IMPORT = re.compile(rb'\bfrom "(\./[^"]+)";')


def page_contents(package: str = "landmarks.serving") -> dict[str, bytes]:
    """Return the files of the pages of a package by path: `/` is index.html, `/docs` is docs.html."""
    folder = resources.files(package).joinpath("static")
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.rpartition(".")[2] in _TYPES:
            path = START if file.name == "index.html" else f"/{file.name.removesuffix('.html')}"
            found[path] = file.read_bytes().replace(b"{{suffixes}}", _SUFFIXES)
    return found | {"/land.json": resources.files("landmarks.geo").joinpath("land.json").read_bytes()}


def page_files() -> Iterator[tuple[str, Endpoint]]:
    """Yield path and endpoint of each file of the pages of the service."""
    for path, content in page_contents().items():
        yield path, file_endpoint(path, content)


def file_endpoint(path: str, content: bytes, *, forever: bool = False) -> Endpoint:
    """Return an endpoint for the content of a path.

    Args:
        path: The path; its ending tells the media type, and one without is of an HTML page.
        content: The content.
        forever: Nothing else will ever be at this address, so a browser need not ask again.
    """
    kind = _TYPES[path.rpartition(".")[2] if "." in path else "html"]
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    kept = "private, max-age=31536000, immutable" if forever else "no-cache"  # revalidated, sent only if changed
    headers = {"ETag": tag, "Cache-Control": kept}

    def file(request: Request) -> Response:
        if matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return file


def matches(given: str, tag: str) -> bool:
    """Return whether an `If-None-Match` names a tag; a proxy that compresses makes it a weak one, `W/"..."`."""
    return given.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in given.split(","))


def version_of(contents: Mapping[str, bytes]) -> str:
    """Return a short text that changes with any of the files."""
    digest = hashlib.sha256()
    for path, content in sorted(contents.items()):
        digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def modules_of(contents: Mapping[str, bytes], first: str) -> list[str]:
    """Return a JavaScript module and all that it imports, directly or not: a browser can fetch them at once."""
    found = {first: None}
    waiting = [first]
    while waiting:
        path = waiting.pop()
        for other in _IMPORT.findall(contents[path]):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(path), other.decode()))
            if imported not in found:
                found[imported] = None
                waiting.append(imported)
    return list(found)
