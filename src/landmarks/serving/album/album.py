"""The photos of a library as the page sees them, kept up to date by its background work."""

from __future__ import annotations

import heapq
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from landmarks.serving.album.catalogue import Catalogue, Photo
from landmarks.serving.album.rows import Standing, make_row
from landmarks.serving.errors import RequestError

_STORED = 500  # rows that are stored in one write


class Album:
    """The photos, by number and by path; safe to use from several threads.

    Args:
        root: Root of the library, to which paths are relative.
        catalogue: Where they are remembered.
        changed: Called after rows have changed, from any thread.
    """

    def __init__(self, root: Path, catalogue: Catalogue, changed: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self.catalogue = catalogue
        self._changed = changed
        self._lock = threading.RLock()
        self._photos: dict[int, Photo] = {}
        self._by_key: dict[bytes, Photo] = {}
        self._removed: list[tuple[int, int]] = []
        # The page's revision may be of an earlier process: revisions grow from one to the next.
        self._first = self.revision = time.time_ns() // 1_000_000
        for photo in catalogue.photos():
            self._enter(photo)
        self._next = max(self._photos, default=0) + 1

    def __len__(self) -> int:
        return len(self._photos)

    def photos(self) -> list[Photo]:
        """Return all photos."""
        with self._lock:
            return list(self._photos.values())

    def get(self, number: int) -> Photo:
        """Return a photo.

        Raises:
            RequestError: There is none with this number.
        """
        photo = self._photos.get(number)
        if photo is None:
            raise RequestError("not_found", "this photo is no longer in the library")
        return photo

    def find(self, key: bytes) -> Photo | None:
        """Return the photo with this path relative to the root, or None."""
        return self._by_key.get(key)

    def at(self, path: Path) -> Photo | None:
        """Return the photo at a path below the root, or None."""
        return self.find(os.fsencode(path.relative_to(self.root)))

    def path(self, photo: Photo) -> Path:
        """Return the path of a photo."""
        return self.root / os.fsdecode(photo.key)

    def answer(self, since: int | None = None) -> bytes:
        """Return all rows as JSON, or those that have changed since a revision, with the photos removed since.

        Where the revision is of an earlier process, all rows are returned, and `complete` says so.
        """
        with self._lock:
            complete = since is None or since < self._first
            photos = self._photos.values()
            lines = [one.line for one in photos if complete or one.revision > (since or 0)]
            removed = [] if complete else [number for when, number in self._removed if when > (since or 0)]
            head = {"revision": self.revision, "complete": complete, "removed": removed}
        return _joined(head, lines)

    def newest(self, limit: int) -> list[Photo]:
        """Return the photos that were taken last, newest first, by what clocks showed."""
        return heapq.nlargest(limit, self.photos(), key=_taken)

    def put(self, found: Sequence[tuple[bytes, int, int]]) -> None:
        """Enter new and changed photos: path relative to the root, size and time of the last change."""
        with self._lock:
            photos = []
            for key, size, mtime_ns in found:
                known = self._by_key.get(key)
                number = known.id if known is not None else self._next
                self._next = max(self._next, number + 1)
                photo = Photo(number, key, size, mtime_ns, rests=False)
                self._enter(photo)
                photos.append(photo)
            self.show((photo, Standing()) for photo in photos)

    def follow(self, photo: Photo, size: int, mtime_ns: int) -> None:
        """Take up that we have written into a photo, if its file has this size and time: it looks the same."""
        try:
            status = self.path(photo).stat()
        except OSError:
            return
        if (status.st_size, status.st_mtime_ns) == (size, mtime_ns):
            before = photo.version
            photo.size, photo.mtime_ns = size, mtime_ns
            self.catalogue.renew(photo.key, before, photo.version)

    def remove(self, keys: Sequence[bytes]) -> None:
        """Remove photos that are gone."""
        if not keys:
            return
        with self._lock:
            self.revision += 1
            for key in keys:
                photo = self._by_key.pop(key)
                del self._photos[photo.id]
                self._removed.append((self.revision, photo.id))
        self.catalogue.remove_photos(keys)
        self._changed()

    def show(self, standings: Iterable[tuple[Photo, Standing]]) -> None:
        """Make the rows of photos anew; only those that differ get a new revision."""
        with self._lock:
            changed: list[Photo] = []
            for photo, standing in standings:
                row = make_row(photo.id, photo.key, photo.version, photo.facts, standing)
                line = json.dumps(row, separators=(",", ":")).encode()
                if line != photo.line and self._photos.get(photo.id) is photo:
                    photo.line, photo.state, photo.verdict = line, row["state"], row["verdict"]
                    photo.revision = self.revision + 1
                    changed.append(photo)
            self.revision += bool(changed)
        if changed:
            for some in _parts(changed, _STORED):
                self.catalogue.put_photos(some)
            self._changed()

    def _enter(self, photo: Photo) -> None:
        self._photos[photo.id] = self._by_key[photo.key] = photo


def with_rows(head: Mapping[str, Any], photos: Iterable[Photo]) -> bytes:
    """Return a JSON object with the rows of photos as its `photos`."""
    return _joined(head, [photo.line for photo in photos])


def _joined(head: Mapping[str, Any], lines: Sequence[bytes]) -> bytes:
    return json.dumps(head).encode()[:-1] + b', "photos": [' + b",\n".join(lines) + b"]}"


def _parts(photos: list[Photo], size: int) -> Iterator[list[Photo]]:
    for start in range(0, len(photos), size):
        yield photos[start : start + size]


def _taken(photo: Photo) -> str:
    """Return when a photo was taken, as text that sorts; reading the JSON of all photos would take much longer."""
    facts = photo.facts or ""
    return facts[2:21] if facts.startswith('["') else ""
