"""An open library: its photos, its ledger, and the threads that work on it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from landmarks.errors import InputError, LandmarksError, SettingsError
from landmarks.files.state import state_of, user_cache
from landmarks.files.walker import count_skipped
from landmarks.geo.gazetteer import Gazetteer
from landmarks.library.library import Library
from landmarks.library.roots import absolute, library_root
from landmarks.metadata.settings import WriteOptions
from landmarks.model.folder import read_info
from landmarks.serving.album.access import COOKIE_SECONDS, Sessions
from landmarks.serving.album.album import Album, with_rows
from landmarks.serving.album.catalogue import Catalogue, Photo
from landmarks.serving.album.likeness import Alike
from landmarks.serving.album.pictures import PREVIEW, THUMBNAIL, make_heatmap, make_picture
from landmarks.serving.album.review import Answered, Places, Review, Said
from landmarks.serving.album.rows import Standing, candidates_of, facts_from_json, find_standing
from landmarks.serving.album.scanner import Callbacks, Found, Scanner
from landmarks.serving.album.tagger import Tagger, Work
from landmarks.serving.errors import RequestError
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import gazetteer_of, identity_of
from landmarks.tagging.workers import cores

_NEIGHBOURS = 8
_USUAL = {"companion", "hidden", "system"}  # skipped without a word: our own sidecars and ledger are among them
_REFRESHED = 100  # rows that are made anew before others get the library's thread

Result = TypeVar("Result")


@dataclass(frozen=True)
class AlbumSettings:
    """What is opened, and how.

    Attributes:
        root: Folder of the photos.
        model: Model folder.
        tags: How to tag.
        options: Where tags are written.
        exclude: Glob patterns of what is skipped below the folder.
        read_only: Show tags without writing any file.
        cache_mb: Limit on the stored thumbnails, in MiB, at least 1.
        look_seconds: Shortest time between two looks for new photos, above 0.

    Raises:
        SettingsError: A value is out of range.
    """

    root: Path
    model: Path
    tags: TagSettings
    options: WriteOptions
    exclude: tuple[str, ...] = ()
    read_only: bool = False
    cache_mb: int = 1024
    look_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.cache_mb < 1:
            raise SettingsError(f"`cache_mb` must be at least 1, not {self.cache_mb}")
        if not self.look_seconds > 0:
            raise SettingsError(f"`look_seconds` must be above 0, not {self.look_seconds:g}")


class Opened:
    """An open library.

    The ledger and all files are read and written in one thread, in the order in which this was asked for.

    Args:
        settings: What is opened.

    Attributes:
        settings: As given.
        changed: Called after anything that the page shows has changed, from any thread.
        root: The folder that is shown.
        base: Root of the library, which may be a folder above.
        album: Its photos.
        sessions: Who may see them.
        cookie: Name of the cookie of a session.
        threads: Where requests do what takes time.
        tagger: Tags in the background.
        read_only: Whether nothing is written.

    Raises:
        InputError: The folder does not exist.
        ModelError: The model folder is damaged.
    """

    def __init__(self, settings: AlbumSettings) -> None:
        self.settings = settings
        self.root = absolute(settings.root)
        if not self.root.is_dir():
            raise InputError(f"{settings.root}: no such folder: check the spelling")
        self.changed: Callable[[], None] = lambda: None
        self.read_only = settings.read_only or not os.access(self.root, os.W_OK)
        self.info = read_info(settings.model)
        folder = state_of(self.root, user_cache() / "albums")
        self.catalogue = Catalogue(folder / "catalogue.sqlite3", settings.cache_mb * 2**20)
        self.base = library_root(self.root)
        self.album = Album(self.base, self.catalogue, self._notify)
        self.cookie = f"landmarks_{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]}"
        self.sessions = Sessions(
            lambda digest: self.catalogue.has_session(digest, time.time() - COOKIE_SECONDS),
            self.catalogue.put_session,
        )
        self.threads = ThreadPoolExecutor(max(2, cores()), "request")
        self._library_thread = ThreadPoolExecutor(1, "library")
        self._library: Library | None = None
        self._review: Review | None = None
        self._counts = (0, 0)
        self._skipped = ""
        self._groups: tuple[list[int], list[Alike]] | None = None
        self._mark: tuple[int, int] | None = None
        self._stop = threading.Event()
        options = None if self.read_only else settings.options
        self.tagger = Tagger(
            Work(self.album, settings.model, settings.tags, options, self.in_library, self.refresh, self._notify)
        )
        self._background: list[threading.Thread] = []

    @cached_property
    def gazetteer(self) -> Gazetteer:
        """The places that tags are named by."""
        return gazetteer_of(self.settings.model, self.settings.tags)

    @cached_property
    def places(self) -> Places:
        """The places to choose from."""
        return Places(self.gazetteer, self.settings.model)

    def start(self) -> None:
        """Start the background work."""
        scanner = Scanner(
            self.album,
            self.root,
            Callbacks(
                self._reach,
                self.tagger.look,
                self.refresh,
                lambda found: self._library_thread.submit(self._foreign, found).result(),
                self._tell_skipped,
            ),
            exclude=self.settings.exclude,
            interval=self.settings.look_seconds,
            stop=self._stop,
        )
        self._background = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("scanner", scanner.run), ("tagger", self.tagger.run))
        ]
        for thread in self._background:
            thread.start()

    def close(self) -> None:
        """End the background work and close all files."""
        self._stop.set()
        self.tagger.stop()
        for thread in self._background:
            thread.join()
        self.threads.shutdown(cancel_futures=True)
        self._library_thread.submit(self._close_library).result()
        self._library_thread.shutdown()
        self.catalogue.close()

    def library(self) -> dict[str, Any]:
        """Return what is open, as JSON."""
        in_place = self.settings.options.in_place
        return {
            "title": self.root.name,
            "root": str(self.root),
            "model": self.info.name,
            "licence": self.info.licence,
            "read_only": self.read_only,
            "skipped": self._skipped,
            "in_place": in_place,
            "writes": "nothing" if self.read_only else "photos" if in_place else "sidecars",
            "can_undo": self._counts[0],
            "can_redo": self._counts[1],
            "tagging": self.tagger.status(),
        }

    def judge(self, photos: Sequence[Photo], said: Said, key: str | None, name: str | None) -> Future[Answered]:
        """Confirm, reject or rename the tags of photos; see `Review.judge`."""
        return self._step(lambda review: review.judge(photos, said, key, name))

    def teach(self, photos: Sequence[Photo], name: str, position: tuple[float, float] | None) -> Future[Answered]:
        """Teach the model a landmark; see `Review.teach`."""
        return self._step(lambda review: review.teach(photos, name, position))

    def undo(self) -> Future[Answered]:
        """Undo the last step; see `Review.undo`."""
        return self._step(Review.undo)

    def redo(self) -> Future[Answered]:
        """Do the step again that was undone last; see `Review.redo`."""
        return self._step(Review.redo)

    def answer(self, done: Answered, more: Mapping[str, Any]) -> bytes:
        """Return what came of a step, as JSON, with more keys."""
        head = {
            "refused": [{"id": number, "reason": reason} for number, reason in done.refused.items()],
            "can_undo": self._counts[0],
            "can_redo": self._counts[1],
            "step": done.step.text,
            **more,
        }
        return with_rows(head, done.photos)

    def detail(self, photo: Photo) -> dict[str, Any]:
        """Return all that is known of a photo, as JSON."""
        answer = self.catalogue.answer(photo.key, photo.version)
        width, height = facts_from_json(photo.facts)["size"] or (None, None)
        confirmed = {one.id for one in self.album.photos() if one.verdict == "confirmed"}
        return {
            "row": photo.row,
            "path": str(self.album.path(photo)),
            "width": width,
            "height": height,
            "size": photo.size,
            "candidates": [] if answer is None else candidates_of(answer, self.gazetteer),
            "reasons": "" if answer is None else json.loads(answer.answer)["reasons"],
            "neighbours": self.similar(photo.id, _NEIGHBOURS, confirmed),
        }

    def similar(self, number: int, limit: int, among: Collection[int] | None = None) -> list[dict[str, Any]]:
        """Return the photos that look most like one, as JSON."""
        if among is None:
            among = {photo.id for photo in self.album.photos() if photo.answered is not None}
        found = self.tagger.likeness.similar(number, limit, among)
        return [{"id": other, "similarity": round(cosine, 4)} for other, cosine in found]

    def suggestions(self) -> list[dict[str, Any]]:
        """Return groups of unknown photos that look alike, as JSON."""
        unknown = [photo.id for photo in self.album.photos() if photo.state == "unknown" and not photo.verdict]
        if (stored := self._groups) is None or stored[0] != unknown:
            self._groups = stored = unknown, self.tagger.likeness.groups(unknown)
        return [{"photos": list(one.photos), "similarity": round(one.similarity, 4)} for one in stored[1]]

    def thumbnail(self, photo: Photo) -> bytes:
        """Return the thumbnail of a photo, which is made once."""
        stored = self.catalogue.thumbnail(photo.key, photo.version)
        if stored is None:
            stored = make_picture(self.album.path(photo), THUMBNAIL, self.settings.tags.limits)
            self.catalogue.put_thumbnail(photo.key, photo.version, stored)
        return stored

    def preview(self, photo: Photo) -> bytes:
        """Return the preview of a photo."""
        return make_picture(self.album.path(photo), PREVIEW, self.settings.tags.limits)

    def heatmap(self, photo: Photo) -> bytes:
        """Return which parts of a photo its most probable landmark depends on."""
        answer = self.catalogue.answer(photo.key, photo.version)
        candidates = [] if answer is None else json.loads(answer.answer)["candidates"]
        if not candidates:
            raise RequestError("not_found", "this photo has not been looked at yet")
        return make_heatmap(self.album.path(photo), self.tagger.model.recognizer, candidates[0][0])

    def _step(self, make: Callable[[Review], Answered]) -> Future[Answered]:
        """Make a step in the library's thread."""

        def run() -> Answered:
            if self.read_only:
                raise RequestError("conflict", "this library is open to look at only: nothing can be changed")
            review = self._reached()[1]
            try:
                done = make(review)
            finally:
                self._count(review)
            self.refresh_now(done.photos)
            if done.taught:
                self.tagger.taught()
            return done

        return self._library_thread.submit(run)

    def in_library(self, work: Callable[[Library], Result]) -> Result:
        """Do something with the library in its thread, and wait for it.

        Raises:
            RequestError: It cannot be reached.
        """
        return self._library_thread.submit(lambda: work(self._reached()[0])).result()

    def refresh(self, photos: Sequence[Photo]) -> None:
        """Make the rows of photos anew."""
        for start in range(0, len(photos), _REFRESHED):
            some = photos[start : start + _REFRESHED]
            if self._stop.is_set():
                return
            self._library_thread.submit(self.refresh_now, some).result()

    def refresh_now(self, photos: Sequence[Photo]) -> None:
        """Make the rows of photos anew; in the library's thread only."""
        if self._library is not None:
            self.album.show([(photo, self.standing(photo)) for photo in photos])

    def standing(self, photo: Photo) -> Standing:
        """Return what is known of the tags of a photo; in the library's thread only."""
        ledger = self._reached()[0].ledger
        row = ledger.photo(photo.key)
        if row is not None and (row.size, row.mtime_ns) != (photo.size, photo.mtime_ns):
            self.album.follow(photo, row.size, row.mtime_ns)  # it may be we who have written into it
        return find_standing(ledger, photo, row, self.tagger.said)

    def _tell_skipped(self, counts: Mapping[str, int]) -> None:
        told = count_skipped({reason: count for reason, count in counts.items() if reason not in _USUAL})
        if told != self._skipped:
            self._skipped = told
            self._notify()

    def _foreign(self, found: list[Found]) -> list[Found]:
        """Return those of the files found that we have not written ourselves; in the library's thread only."""
        kept = []
        for key, size, mtime_ns in found:
            photo = self.album.find(key)
            row = None if photo is None or self._library is None else self._library.ledger.photo(key)
            if photo is None or row is None or (row.size, row.mtime_ns) != (size, mtime_ns):
                kept.append((key, size, mtime_ns))
            else:
                self.album.follow(photo, size, mtime_ns)
        return kept

    def _reach(self, there: bool) -> bool:
        """Open the library if its folder is there, and close it if not; return whether it is open."""
        try:
            status = self.root.stat()
            mark = (status.st_dev, status.st_ino)
        except OSError:
            there, mark = False, None
        if not there:
            self._library_thread.submit(self._close_library).result()
            self.tagger.out_of_reach(f"The folder {self.root} is gone: is its drive connected?")
            return False
        if mark != self._mark or self._library is None:
            try:
                self._library_thread.submit(self._open_library).result()
            except LandmarksError as error:
                self.tagger.out_of_reach(str(error))
                return False
            self._mark = mark
        self.tagger.out_of_reach(None)
        return True

    def _open_library(self) -> None:
        self._close_library()
        self._library = Library(
            self.base, options=self.settings.options, read_only=self.read_only, exclude=self.settings.exclude
        )
        self._review = Review(
            self._library,
            self.album,
            self.places,
            self.settings.model,
            self.settings.tags.limits,
            standing=self.standing,
            said=self.tagger.said,
            identity=lambda: identity_of(self.settings.model, self.info, self.settings.tags),
        )
        self._count(self._review)

    def _close_library(self) -> None:
        library, self._library, self._review = self._library, None, None
        if library is not None:
            library.close()

    def _reached(self) -> tuple[Library, Review]:
        if self._library is None or self._review is None:
            raise RequestError("unavailable", f"the folder {self.root} cannot be reached at the moment")
        return self._library, self._review

    def _count(self, review: Review) -> None:
        counts = review.counts
        if counts != self._counts:
            self._counts = counts
            self._notify()

    def _notify(self) -> None:
        self.changed()
