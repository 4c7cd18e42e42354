"""An open library: its photos, who may see them, and what its first page needs."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from landmarks.files.state import may_store
from landmarks.serving.album.album import Album, with_rows
from landmarks.serving.album.catalogue import Catalogue, Photo
from landmarks.serving.album.incoming.access import COOKIE_SECONDS, Sessions
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.errors import RequestError
from landmarks.tagging.workers import cores

if TYPE_CHECKING:
    from landmarks.serving.album.workbench import Workbench

_PAGE_SECONDS = 2.0  # in which the page of a second start gets the processor for itself, at most


class Opened:
    """An open library.

    Nothing here imports NumPy or the model, which would take longer than all else until the first page is shown.

    Args:
        settings: What is opened.

    Attributes:
        settings: As given.
        changed: Called after anything that the page shows has changed, from any thread.
        failed: Called if the model cannot be used, from any thread.
        root: The folder that is shown.
        album: Its photos; their root is that of the library, which may be a folder above.
        sessions: Who may see them.
        cookie: Name of the cookie of a session.
        threads: Where requests do what takes time.
        read_only: Whether nothing is written.

    Raises:
        InputError: The folder does not exist, or is not in the library of the given ledger.
        LedgerError: The given ledger is damaged.
    """

    def __init__(self, settings: AlbumSettings) -> None:
        self.settings = settings
        self.root = settings.folder()
        self.changed: Callable[[], None] = lambda: None
        self.failed: Callable[[], None] = lambda: None
        self.read_only = settings.read_only or not may_store(self.root)
        self.catalogue = Catalogue(settings.cache() / "catalogue.sqlite3", settings.cache_mb * 2**20)
        self.album = Album(settings.library(), self.catalogue, self._notify)
        self.cookie = f"landmarks_{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]}"
        self.sessions = Sessions(
            lambda digest: self.catalogue.has_session(digest, time.time() - COOKIE_SECONDS),
            self.catalogue.put_session,
        )
        self.threads = ThreadPoolExecutor(max(2, cores()), "request")
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._workbench: Future[Workbench] = Future()
        self._workbench.set_running_or_notify_cancel()  # a request that ends does not end it
        self._error: Exception | None = None
        self._making = threading.Thread(target=self._make, name="workbench", daemon=True)

    def start(self) -> None:
        """Start to get the workbench ready, which then works in the background."""
        self._making.start()

    def close(self) -> None:
        """End the background work and close all files."""
        self._stop.set()
        self._wanted.set()
        self._making.join()
        self.threads.shutdown(cancel_futures=True)
        if self._workbench.exception() is None:
            self._workbench.result().close()
        self.catalogue.close()

    def workbench(self) -> Future[Workbench]:
        """Return what changes the library, which from now on gets ready at once."""
        self._wanted.set()
        return self._workbench

    def check(self) -> None:
        """Raise what kept the workbench from getting ready, such as a `ModelError`."""
        if self._error is not None:
            raise self._error

    def library(self) -> dict[str, Any]:
        """Return what is open, as JSON."""
        in_place = self.settings.options.in_place
        photos = len(self.album)
        tagging = {"state": "starting", "done": photos, "total": photos, "unreadable": 0, "message": None}
        known: dict[str, Any] = {"model": None, "licence": None, "skipped": "", "can_undo": 0, "can_redo": 0}
        if self._workbench.done() and self._workbench.exception() is None:
            known = self._workbench.result().status()
        return {
            "title": self.root.name,
            "root": str(self.root),
            "read_only": self.read_only,
            "locked": self.read_only and not self.settings.read_only,
            "in_place": in_place,
            "writes": "nothing" if self.read_only else "photos" if in_place else "sidecars",
            "tagging": tagging,
            **known,
        }

    def first(self, photos: Iterable[Photo]) -> bytes:
        """Return what the page shows first, as JSON: what is open, and some photos."""
        return with_rows({"info": self.library()}, photos)

    def thumbnail(self, photo: Photo) -> bytes:
        """Return the thumbnail of a photo, which is made once."""
        stored = self.catalogue.thumbnail(photo.key, photo.version)
        if stored is None:
            from landmarks.serving.album.background.pictures import THUMBNAIL, make_picture  # noqa: PLC0415

            stored = make_picture(self.album.path(photo), THUMBNAIL, self.settings.tags.limits)
            self.catalogue.put_thumbnail(photo.key, photo.version, stored)
        return stored

    def _make(self) -> None:
        """Get the workbench ready once somebody wants it, or the first page was shown."""
        if len(self.album):
            self._wanted.wait(_PAGE_SECONDS)
        try:
            if self._stop.is_set():
                self._workbench.set_exception(RequestError("unavailable", "landmarks open is ending"))
                return
            from landmarks.serving.album.workbench import Workbench  # noqa: PLC0415

            made = Workbench(
                self.settings,
                self.root,
                self.album,
                self._stop,
                read_only=self.read_only,
                notify=self._notify,
            )
        except Exception as error:  # noqa: BLE001 - whoever waits gets it, and the command ends with it
            self._error = error
            self._workbench.set_exception(error)
            self.failed()
            return
        made.start()
        self._workbench.set_result(made)
        self.changed()

    def _notify(self) -> None:
        self.changed()
