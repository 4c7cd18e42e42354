"""The workbench of an open library: its model, its ledger, and the threads that work on it.

It takes most of a second to get ready, so it is made after the first page was answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from landmarks.errors import LandmarksError, StorageError
from landmarks.files.walker import count_skipped
from landmarks.geo.gazetteer import Gazetteer
from landmarks.library.library import Library
from landmarks.library.roots import ledger_of, other_libraries
from landmarks.model.folder import read_info
from landmarks.serving.album.album import Album, with_rows
from landmarks.serving.album.background.likeness import Alike
from landmarks.serving.album.background.pictures import PREVIEW, make_heatmap, make_picture
from landmarks.serving.album.background.scanner import Callbacks, Found, Scanner
from landmarks.serving.album.background.tagger import Tagger, Work
from landmarks.serving.album.catalogue import Photo
from landmarks.serving.album.review import Answered, Places, Review
from landmarks.serving.album.rows import Standing, candidates_of, facts_from_json
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.album.standing import find_standing
from landmarks.serving.errors import RequestError
from landmarks.tagging.tagger import gazetteer_of, identity_of

_NEIGHBOURS = 8
_USUAL = {"companion", "hidden", "system"}  # skipped without a word: our own sidecars and ledger are among them
_REFRESHED = 100  # rows that are made anew before others get the library's thread

Result = TypeVar("Result")


class Workbench:
    """What changes a library.

    The ledger and all files are read and written in one thread, in the order in which this was asked for.

    Args:
        settings: What is opened.
        root: The folder that is shown.
        album: Its photos.
        stop: Ends the background work.
        read_only: Whether nothing is written.
        notify: Called after anything that the page shows has changed, from any thread.

    Attributes:
        tagger: Tags in the background.

    Raises:
        ModelError: The model folder is damaged.
    """

    def __init__(
        self,
        settings: AlbumSettings,
        root: Path,
        album: Album,
        stop: threading.Event,
        *,
        read_only: bool,
        notify: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.root = root
        self.album = album
        self.read_only = read_only
        self.info = read_info(settings.model)
        self._notify = notify
        self._stop = stop
        self._library_thread = ThreadPoolExecutor(1, "library")
        self._library: Library | None = None
        self._review: Review | None = None
        self._counts = (0, 0)
        self._skipped = ""
        self._groups: tuple[list[int], list[Alike]] | None = None
        self._mark: tuple[int, int] | None = None
        options = None if read_only else settings.options
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
        """Open the ledger and start the background work."""
        self._reach(there=self.root.is_dir())
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
            apart=other_libraries(self.settings.state),
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
        """End the background work and close the ledger."""
        self._stop.set()
        self.tagger.stop()
        for thread in self._background:
            thread.join()
        self._library_thread.submit(self._close_library).result()
        self._library_thread.shutdown()

    def status(self) -> dict[str, Any]:
        """Return what is known of the model, the steps and the tagging, as JSON."""
        return {
            "model": self.info.name,
            "licence": self.info.licence,
            "skipped": self._skipped,
            "can_undo": self._counts[0],
            "can_redo": self._counts[1],
            "tagging": self.tagger.status(),
        }

    def step(self, make: Callable[[Review], Answered], photos: Sequence[Photo] = ()) -> Future[Answered]:
        """Make a step in the library's thread.

        Args:
            make: Makes it.
            photos: What it is about: if it fails after it has changed some of them, that is shown too.

        Raises:
            RequestError: In the future: the library is read-only, or cannot be reached.
        """

        def run() -> Answered:
            """Make the step, and show what has changed."""
            if self.read_only:
                raise RequestError("conflict", "this library is opened read-only: nothing can be changed")
            review = self._reached()[1]
            try:
                done = make(review)
            except StorageError:
                with suppress(LandmarksError):
                    self.refresh_now(photos)
                self.tagger.taught()  # it may have been, before the disk was full
                raise
            finally:
                self._count(review)
            self.refresh_now(done.photos)
            if done.taught:
                self.tagger.taught()
            return done

        return self._library_thread.submit(run)

    def answer(self, done: Answered, more: Mapping[str, Any]) -> bytes:
        """Return what came of a step, as JSON, with more keys."""
        head = {
            "refused": [{"id": number, "reason": reason} for number, reason in done.refused.items()],
            "can_undo": self._counts[0],
            "can_redo": self._counts[1],
            "step": done.step.text,
            "number": done.step.number,
            "warnings": done.warnings,
            **more,
        }
        return with_rows(head, done.photos)

    def detail(self, photo: Photo) -> dict[str, Any]:
        """Return all that is known of a photo, as JSON."""
        answer = self.album.catalogue.answer(photo.key, photo.version)
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

    def preview(self, photo: Photo) -> bytes:
        """Return the preview of a photo."""
        return make_picture(self.album.path(photo), PREVIEW, self.settings.tags.limits)

    def heatmap(self, photo: Photo) -> bytes:
        """Return which parts of a photo the class depends on that the network found most probable."""
        answer = self.album.catalogue.answer(photo.key, photo.version)
        candidates = [] if answer is None else json.loads(answer.answer)["candidates"]
        best = next((name for name, _ in candidates if name in self.info.classes), None)  # not one that was taught
        if best is None:
            raise RequestError("not_found", "this photo has not been looked at yet")
        return make_heatmap(self.album.path(photo), self.tagger.model.recognizer, best)

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
        self.tagger.unlock()
        self.tagger.catch_up()
        return True

    def _open_library(self) -> None:
        self._close_library()
        root = self.album.root
        self._library = Library(
            root,
            ledger=self.settings.ledger or ledger_of(root, self.settings.state),
            options=self.settings.options,
            read_only=self.read_only,
            exclude=self.settings.exclude,
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
