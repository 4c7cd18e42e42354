"""Which photos are due: new, changed, or tagged by another model; and which files are at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Literal

from landmarks.library.batch import Work
from landmarks.library.ledger import Ledger
from landmarks.library.records import PhotoRow, PhotoState
from landmarks.library.writing import Snapshot

NotDue = Literal["done before", "unreadable before", "unwritable before", "at work in another process"]
"""Why a photo is not due."""

OnNotDue = Callable[[Path, NotDue], None]
"""Called with each photo that is not due, and why."""

_SETTLED: dict[PhotoState, NotDue] = {
    "done": "done before",
    "unreadable": "unreadable before",
    "unwritable": "unwritable before",
}
_CLAIMS = 16  # photos that are claimed in one step


class Rest:
    """Tells when files are at rest: two looks, some time apart, have found them the same.

    Args:
        seconds: Time between the two looks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[Path, tuple[tuple[int, ...], float]] = {}
        self._looked: set[Path] = set()

    def reached(self, photo: Path) -> bool:
        """Look at a file; return whether it has been the same for long enough."""
        now = time.monotonic()
        try:
            status = photo.stat()
        except OSError:
            return False
        mark = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known, since = self._seen.get(photo, (None, now))
        self._looked.add(photo)
        self._seen[photo] = (mark, since if mark == known else now)
        return mark == known and now - since >= self._seconds

    def forget_the_rest(self) -> None:
        """Forget the files at which nobody has looked since the last call."""
        self._seen = {photo: self._seen[photo] for photo in self._looked if photo in self._seen}
        self._looked.clear()


class DuePhotos:
    """The photos that are due in one run.

    Args:
        ledger: What is known of each photo.
        key: Maps a photo to its key in the ledger.
        run_key: Model and options; photos that were done with others are due again.
        settled: Photos in one of these states are due again only when they change.
        read_only: Claim nothing and note nothing.
        on_skip: Called for each photo that is not due; one that is given twice is tagged once without a word.

    Attributes:
        pending: The work there is with each claimed photo; whoever takes a photo up removes it.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: Callable[[Path], bytes],
        run_key: str,
        settled: Set[PhotoState],
        *,
        read_only: bool = False,
        on_skip: OnNotDue | None = None,
    ) -> None:
        self.pending: dict[Path, Work] = {}
        self._ledger = ledger
        self._key = key
        self._run_key = run_key
        self._settled = settled
        self._read_only = read_only
        self._skip = on_skip or (lambda _photo, _why: None)

    def among(self, photos: Iterable[Path]) -> Iterator[Path]:
        """Give the photos that are due, each claimed and in `pending`."""
        found: list[tuple[Work, PhotoRow | None]] = []
        for photo in photos:
            key = self._key(photo)
            row = self._ledger.photo(key)
            work = self._look(photo, key, row)
            if not isinstance(work, Work):
                self._skip(photo, work)
                continue
            found.append((work, row))
            if len(found) == _CLAIMS:
                yield from self._claimed(found)
                found = []
        yield from self._claimed(found)

    def release(self) -> None:
        """Give the claims on all pending photos back."""
        if not self._read_only:
            self._ledger.release([work.key for work in self.pending.values()])

    def _claimed(self, found: list[tuple[Work, PhotoRow | None]]) -> list[Path]:
        if not found:
            return []
        claimed: list[Path] = []
        with self._ledger.transaction():
            for work, row in found:
                now = row if self._read_only else self._ledger.photo(work.key)
                if now is not None and now != row:  # done between our look and our claim
                    self._skip(work.photo, _SETTLED[now.state])
                elif self._read_only or self._ledger.claim(work.key):
                    self.pending[work.photo] = work
                    claimed.append(work.photo)
                elif not self._ledger.holds(work.key):
                    self._skip(work.photo, "at work in another process")
        return claimed

    def _look(self, photo: Path, key: bytes, row: PhotoRow | None) -> Work | NotDue:
        """Return the work there is with a photo, or why there is none when it is settled and unchanged."""
        if row is not None and (row.key != self._run_key or row.state not in self._settled):
            row = None
        try:
            if row is not None:
                status = photo.stat()
                if (status.st_size, status.st_mtime_ns) == (row.size, row.mtime_ns):
                    return _SETTLED[row.state]
            # Of a photo that is due anyway the content is read once, by the tagger.
            snapshot = Snapshot.of(photo, read=row is not None) if photo.is_file() else None
        except OSError:
            snapshot = None  # the tagger will say what is wrong with it
        if row is not None and snapshot is None and not row.sha256:
            return _SETTLED[row.state]  # still as unreadable as it was
        if row is not None and snapshot is not None and snapshot.sha256 == row.sha256:
            if not self._read_only:
                self._ledger.record(replace(row, size=snapshot.size, mtime_ns=snapshot.mtime_ns))
            return _SETTLED[row.state]
        return Work(photo, key, snapshot, self._run_key)
