"""The watch over a library: finds new, changed and removed photos, and reads what cameras recorded with them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from landmarks.errors import LandmarksError
from landmarks.files.walker import Apart
from landmarks.imaging.photos import walk_photos
from landmarks.metadata.reading import Facts, read_facts
from landmarks.serving.album.album import Album
from landmarks.serving.album.catalogue import Photo
from landmarks.serving.album.rows import facts_to_json

_SHOWN = 500  # new photos that are shown together
_READ = 40  # photos that are read before they are shown
_SHARE = 20  # looks take at most one part in so many of the time, when nothing new was found

Found = tuple[bytes, int, int]
"""A new or changed file: path relative to the root, size, and time of its last change in nanoseconds."""


@dataclass(frozen=True)
class Callbacks:
    """What the scanner asks for and tells.

    Attributes:
        present: Called before each look with whether the folder is there; returns False to skip the look.
        looked: Called after each look that has found something.
        refresh: Makes the rows of photos anew.
        foreign: Returns those of the files found that we have not written ourselves.
        skipped: Called after each whole look with the number of skipped files and folders, by reason.
    """

    present: Callable[[bool], bool]
    looked: Callable[[], None]
    refresh: Callable[[Sequence[Photo]], None]
    foreign: Callable[[list[Found]], list[Found]]
    skipped: Callable[[Mapping[str, int]], None]


class Scanner:
    """Looks at the folder again and again, which works on every file system.

    Args:
        album: The photos.
        folder: The folder that is looked at.
        callbacks: What it asks for and tells.
        exclude: Glob patterns of what is skipped.
        apart: Tells the libraries inside, which are skipped: their photos are in ledgers of their own.
        interval: Shortest time between two looks in seconds.
        stop: Ends the watch.
    """

    def __init__(
        self,
        album: Album,
        folder: Path,
        callbacks: Callbacks,
        *,
        exclude: Sequence[str],
        apart: Apart,
        interval: float,
        stop: Event,
    ) -> None:
        self._album = album
        self._folder = folder
        self._exclude, self._apart = tuple(exclude), apart
        self._interval = interval
        self._stop = stop
        self._callbacks = callbacks

    def run(self) -> None:
        """Look until stopped."""
        first, seconds = True, 0.0
        while not self._stop.is_set():
            if self._callbacks.present(self._folder.is_dir()):
                # The ledger goes with the folder, in the middle of a look too: the next one says so.
                with suppress(LandmarksError):
                    begun = time.monotonic()
                    found = self.look()
                    seconds = time.monotonic() - begun
                    if first:
                        self._callbacks.refresh(self._album.photos())  # others may have written
                    if found or first:
                        self._callbacks.looked()
                    first = False
                    self.read()
            settled = all(photo.rests for photo in self._album.photos())
            self._stop.wait(max(self._interval, seconds * (_SHARE if settled else 1)))

    def look(self) -> bool:
        """List the folder once; return whether there is work with what was found."""
        album, moved = self._album, False
        seen: set[bytes] = set()
        found: list[Found] = []
        skipped: Counter[str] = Counter()
        prefix = len(os.fsencode(os.path.join(album.root, "")))  # noqa: PTH118 - with a slash at its end
        try:
            for path in walk_photos(
                [self._folder],
                exclude=self._exclude,
                apart=self._apart,
                on_skip=lambda one: skipped.update([one.reason]),
            ):
                key = os.fsencode(path)[prefix:]
                try:
                    status = path.stat()
                except OSError:
                    continue
                seen.add(key)
                photo = album.find(key)
                if photo is None or (photo.size, photo.mtime_ns) != (status.st_size, status.st_mtime_ns):
                    found.append((key, status.st_size, status.st_mtime_ns))
                    moved = True
                elif not photo.rests:
                    photo.rests = moved = True
                if len(found) >= _SHOWN:
                    album.put(self._callbacks.foreign(found))
                    found = []
                if self._stop.is_set():
                    return False
        except (LandmarksError, OSError):
            return False  # the next look says whether the folder is still there
        if found:
            album.put(self._callbacks.foreign(found))
        self._callbacks.skipped(skipped)
        if self._folder.is_dir():
            gone = [photo.key for photo in album.photos() if photo.key not in seen]
            album.remove(gone)
            moved = moved or bool(gone)
        return moved

    def read(self) -> None:
        """Read what cameras recorded with the photos that were not read yet."""
        unread = [photo for photo in self._album.photos() if photo.facts is None and photo.rests]
        for start in range(0, len(unread), _READ):
            some = unread[start : start + _READ]
            for photo in some:
                if self._stop.is_set():
                    return
                photo.facts = facts_to_json(_facts(self._album, photo))
            try:
                self._callbacks.refresh(some)
            except LandmarksError:
                for photo in some:
                    photo.facts = None  # they are not shown yet
                raise


def _facts(album: Album, photo: Photo) -> Facts:
    try:
        return read_facts(album.path(photo))
    except OSError:
        return Facts()
