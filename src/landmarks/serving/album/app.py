"""An open library and its web application."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from landmarks.errors import ImageError, InputError, LandmarksError
from landmarks.files.state import state_of, user_cache
from landmarks.library.roots import absolute
from landmarks.model.folder import read_info
from landmarks.serving.album.access import COOKIE_SECONDS, Door, Sessions
from landmarks.serving.album.album import Album, Photo
from landmarks.serving.album.catalogue import Catalogue
from landmarks.serving.album.pictures import PREVIEW, THUMBNAIL, make_picture
from landmarks.serving.album.routes import album_routes
from landmarks.serving.album.rows import Standing
from landmarks.serving.album.scanner import Scanner
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.errors import Code, RequestError, error_response
from landmarks.serving.middleware.security import SecurityHeaders
from landmarks.tagging.workers import cores


class Opened:
    """An open library: its photos, and the threads that work on it.

    Args:
        settings: What is opened.
        host: The address that is listened on.

    Attributes:
        album: The photos.
        sessions: Who may see them.
        cookie: Name of the cookie of a session.
        threads: Where requests do what takes time.
    """

    def __init__(self, settings: AlbumSettings, host: str) -> None:
        self.settings = settings
        self.root = absolute(settings.root)
        if not self.root.is_dir():
            raise InputError(f"{settings.root}: no such folder: check the spelling")
        folder = state_of(self.root, user_cache() / "albums")
        self.catalogue = Catalogue(folder / "catalogue.sqlite3", settings.cache_mb * 2**20)
        self.album = Album(self.root, self.catalogue)
        self.info = read_info(settings.model)
        self.cookie = f"landmarks_{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]}"
        self.host = host
        self.sessions = Sessions(
            lambda digest: self.catalogue.has_session(digest, time.time() - COOKIE_SECONDS),
            self.catalogue.put_session,
        )
        self.threads = ThreadPoolExecutor(max(2, cores()), "request")
        self.stop = threading.Event()
        self.scanner = Scanner(
            self.album,
            settings.exclude,
            settings.look_seconds,
            self.stop,
            present=lambda there: there,
            looked=lambda: None,
            refresh=self.refresh,
        )
        self._background: list[threading.Thread] = []

    def start(self) -> None:
        """Start the background work."""
        self._background = [threading.Thread(target=self.scanner.run, name="scanner", daemon=True)]
        for thread in self._background:
            thread.start()

    def close(self) -> None:
        """End the background work and close all files."""
        self.stop.set()
        for thread in self._background:
            thread.join()
        self.threads.shutdown(cancel_futures=True)
        self.catalogue.close()

    def refresh(self, photos: Sequence[Photo]) -> None:
        """Make the rows of photos anew."""
        self.album.show((photo, Standing()) for photo in photos)

    def library(self) -> dict[str, Any]:
        """Return what is open, as JSON."""
        return {
            "title": self.root.name,
            "root": str(self.root),
            "model": self.info.name,
            "licence": self.info.licence,
            "read_only": self.settings.read_only,
            "in_place": self.settings.options.in_place,
            "writes": "nothing"
            if self.settings.read_only
            else "photos"
            if self.settings.options.in_place
            else "sidecars",
            "can_undo": 0,
            "can_redo": 0,
            "tagging": {"state": "idle", "done": 0, "total": 0, "unreadable": 0, "message": None},
        }

    def address(self, host: str) -> str:
        """Return the address of the page for others, from the `Host` of a request."""
        return f"http://{host}"

    def thumbnail(self, number: int) -> bytes:
        """Return the thumbnail of a photo, which is made once."""
        photo = self.album.get(number)
        stored = self.catalogue.thumbnail(photo.key, photo.version)
        if stored is None:
            stored = self._picture(photo, THUMBNAIL)
            self.catalogue.put_thumbnail(photo.key, photo.version, stored)
        return stored

    def preview(self, number: int) -> bytes:
        """Return the preview of a photo."""
        return self._picture(self.album.get(number), PREVIEW)

    def _picture(self, photo: Photo, side: int) -> bytes:
        return make_picture(self.album.path(photo), side, self.settings.tags.limits)


def create_app(opened: Opened) -> Starlette:
    """Return the application of a library; its background work runs from its start-up to its shutdown."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        opened.start()
        try:
            yield
        finally:
            opened.close()

    return Starlette(
        routes=album_routes(opened),
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Door, sessions=opened.sessions, cookie=opened.cookie, host=opened.host),
        ],
        exception_handlers={LandmarksError: _failed, HTTPException: _refused},
    )


def _failed(_request: Request, error: Exception) -> Response:
    """Return the response for an error of the package."""
    if isinstance(error, RequestError):
        return error_response(error)
    code: Code = "unavailable"
    if isinstance(error, ImageError):
        code = "invalid_parameter"
    elif isinstance(error, InputError):
        code = "not_found"
    return error_response(RequestError(code, getattr(error, "reason", None) or str(error)))


def _refused(_request: Request, error: Exception) -> Response:
    """Return the response for a request without a route."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        return error_response(RequestError("method_not_allowed", "this address does not take that method"))
    return error_response(RequestError("not_found", "there is nothing at this address"))


Started = Callable[[str], None]
