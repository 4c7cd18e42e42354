"""Photos in bulk: which are due, what is written about them, what the user said of it, and how it is taken back.

A `Library` is a folder with a ledger. Photos stream through: neither their number nor that of the ledger's rows
changes how much memory is used. Photos go to the tagger as a stream, and what it says is written in small
batches, each written down in the ledger first (see `landmarks.library.ledger`).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from threading import Event

from landmarks.errors import InputError, MetadataError
from landmarks.files.checksums import sha256_file
from landmarks.files.closing import Closing
from landmarks.files.walker import Apart, Skipped
from landmarks.imaging.photos import OnSkip, refuse_missing, walk_photos
from landmarks.library.batch import Batch, Outcome
from landmarks.library.due import DuePhotos, OnNotDue, Rest
from landmarks.library.ledger import Ledger
from landmarks.library.moves import follow_moves
from landmarks.library.records import PhotoState, RunRow, Verdict
from landmarks.library.review.judging import Files, Judgement, confirmation, judge
from landmarks.library.review.verdicts import confirmed_tags, judged, names_of, newest, own_names, place_names
from landmarks.library.roots import LEDGER, absolute, keep_root, ledger_of, library_root, may_write
from landmarks.library.undo import Undone, preview, undo
from landmarks.library.writing import recover, require_writable
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.tags import ImageTags, Tag, tags_from_json

__all__ = ["LEDGER", "Library", "TagPhotos", "library_root"]

TagPhotos = Callable[[Iterable[Path]], Iterator[ImageTags]]
"""Tags a stream of photos, in any order, each under the path it was given."""


class Library(Closing):
    """A folder of photos with its ledger; use it in a `with` block.

    Args:
        root: The folder.
        ledger: Another place for the ledger; None for the usual one (see `landmarks.library.roots.ledger_of`).
        options: Where tags are written.
        read_only: Write nothing, not even a ledger; for previews.
        exclude: Glob patterns of what is skipped below folders.
        apart: Folders below that are libraries of their own, and skipped; by default there are none.
        on_left_out: Told of each file and folder that the folder walk skips.

    Attributes:
        ledger: The ledger; it is open as long as the library.

    Raises:
        InputError: The root is no folder.
        LedgerError: The ledger is damaged.
        StorageError: There can be no ledger at its place.
    """

    def __init__(
        self,
        root: Path,
        *,
        ledger: Path | None = None,
        options: WriteOptions | None = None,
        read_only: bool = False,
        exclude: Sequence[str] = (),
        apart: Apart | None = None,
        on_left_out: OnSkip | None = None,
    ) -> None:
        self.root = absolute(root)
        self._prefix = os.path.join(self.root, "")  # noqa: PTH118 - with a slash at its end
        self._exclude, self._apart = tuple(exclude), apart
        self._on_left_out = on_left_out
        self._told: set[Skipped] | None = None  # while watching: of this look and earlier ones
        if not self.root.is_dir():
            raise InputError(f"{root}: no such folder: check the spelling")
        self.options = options or WriteOptions()
        self._read_only = read_only
        self._has_followed = False  # moves, for what is only looked up
        self._place = path = absolute(ledger) if ledger is not None else ledger_of(self.root)
        self.ledger = Ledger(
            path if not read_only or path.is_file() else None, read_only=read_only and not may_write(path)
        )
        self._tool = ExifTool()
        if not read_only:
            recover(self.ledger, self.root)

    @property
    def files(self) -> Files:
        """What verdicts are recorded and written with."""
        return Files(self.ledger, self.root, self.options, self._tool, self.key)

    def close(self) -> None:
        """Close the ledger."""
        self._tool.close()
        self.ledger.close()

    def tag(
        self,
        paths: Iterable[Path],
        tag_photos: TagPhotos,
        *,
        model: str,
        retry: bool = False,
        moves: bool = True,
        on_skip: OnNotDue | None = None,
    ) -> Iterator[Outcome]:
        """Tag what is due among photos and folders, and write it, or show it where the library is read-only.

        Args:
            paths: Photos, and folders with everything below them (see `landmarks.files.walker`).
            tag_photos: The tagger. It may read ahead, also in a thread of its own.
            model: Identity of the model; photos that were done with another one are due again.
            retry: Take up photos again that could not be read, though they have not changed since.
            moves: Find photos again that were moved, which looks at every photo that was written for.
            on_skip: Called for each photo that is not due, with the reason.

        Yields:
            One outcome for each photo that was due, as soon as it is certain.

        Raises:
            InputError: A path does not exist, and nobody is told of what is left out.
            StorageError: The disk is full or the folder read-only. All that was done before is kept.
            LedgerError: The ledger cannot be used.
        """
        settled: set[PhotoState] = {"done"} if retry else {"done", "unreadable"}
        yield from self._tag(list(paths), tag_photos, model, settled, on_skip, moves=moves)

    def watch(
        self,
        paths: Iterable[Path],
        tag_photos: TagPhotos,
        *,
        model: str,
        stop: Event,
        interval: float = 2.0,
        retry: bool = False,
    ) -> Iterator[Outcome]:
        """Tag photos as they arrive, until `stop` is set.

        The folders are read again and again, which works on every file system, network mounts included; a large
        library is read less often, so that reading never takes more than a tenth of the time. A photo is taken
        up when two looks, at least `interval` seconds apart, find it the same: a camera or a download may still be
        writing it. Clocks do not count, as that of a camera or a file server may be wrong.

        Args:
            paths: Photos and folders.
            tag_photos: The tagger.
            model: Identity of the model.
            stop: Ends the watch.
            interval: Seconds between two looks, more than 0.
            retry: As of `tag`, once.
        """
        rest = Rest(interval)
        self._told = set()

        def at_rest(due: Iterable[Path]) -> Iterator[ImageTags]:
            return tag_photos(photo for photo in due if not stop.is_set() and rest.reached(photo))

        paths = list(paths)
        settled: set[PhotoState] = {"done"} if retry else {"done", "unreadable"}
        for look in itertools.count():
            if stop.is_set():
                break
            begun, found = time.monotonic(), False
            for outcome in self._tag(paths, at_rest, model, settled, None):
                found = True
                yield outcome
            rest.forget_the_rest()
            if look > 0:  # the first one takes nothing up; what failed before is asked for once
                settled |= {"unreadable", "unwritable"}
            # The time of a look that tagged tells nothing of how long reading takes.
            stop.wait(interval if found else max(interval, 10 * (time.monotonic() - begun)))

    def quarantine(self) -> Iterator[tuple[Path, str]]:
        """Give the photos that could not be tagged, each with the reason."""
        for row in self.ledger.quarantine():
            yield self.root / os.fsdecode(row.photo), row.reason or ""

    def runs(self) -> Iterator[RunRow]:
        """Give the runs that wrote something, the newest first."""
        return self.ledger.runs()

    def undo(
        self, *, run: int | None = None, below: Path | None = None, dry_run: bool = False
    ) -> Iterator[Undone]:
        """Take back what was written: all of it, that of a run, or that below a folder.

        Args:
            run: Only what this run wrote.
            below: Only photos in this folder, or this photo.
            dry_run: Give what would be undone and change nothing.

        Raises:
            InputError: There is no such run, or `below` neither exists nor was ever written to.
        """
        folder = b"" if below is None else self.key(below)
        folder = b"" if folder == b"." else folder
        moves = follow_moves(self.ledger, self.root, sidecars=True)
        if run is not None and all(row.id != run for row in self.ledger.runs()):
            raise InputError(f"{self.root}: there is no run {run}: landmarks undo --list shows the runs")
        gone = [new for old, new in moves.items() if folder and (old + b"/").startswith(folder + b"/")]
        pages = self.ledger.standing(run=run, below=folder)
        if below is not None and not below.exists() and not gone and next(pages, None) is None:
            raise InputError(f"{below}: no such file or folder, and nothing was written there: check the spelling")
        for place in (folder, *gone):
            yield from (preview if dry_run else undo)(self.ledger, self.root, run=run, below=place)

    def reject(self, photo: Path, tag: str) -> list[Outcome]:
        """Take a tag off a photo for good: no run and no model brings it back.

        Args:
            photo: The photo, also by the path that it had when it was tagged.
            tag: Name of the tag, or of its city or country, which rejects all that is said to lie there.

        Raises:
            InputError: There is no such photo, or nothing is called so: neither a tag that it had nor a place.
            MetadataError: The file cannot be edited; the verdict stands all the same.
        """
        photo = self._find_again(photo)
        name = tag.casefold()
        known = self._known_tags(photo)
        if not any(name in names_of(each) for each in known.values()) and name not in place_names():
            raise InputError(
                f"{photo}: it never had a tag {tag!r}, and no landmark, city or country is called so; its tags: "
                f"{_listed(known)}"
            )
        return self._judge(photo, Verdict(name, "rejected", None))

    def confirm(self, photo: Path, tag: str | Tag) -> list[Outcome]:
        """Keep a tag on a photo whatever later models say; a rejected one comes back, an estimate becomes certain.

        Args:
            photo: The photo, also by the path that it had when it was tagged.
            tag: A tag, or the name, in any language, of one that the photo has or had.

        Raises:
            InputError: There is no such photo, or it never had a tag of this name.
            MetadataError: The file cannot be edited; the verdict stands all the same.
        """
        photo = self._find_again(photo)
        if isinstance(tag, str):
            known = self._known_tags(photo)
            name = tag.casefold()
            found = known.get(name) or next((one for one in known.values() if name in own_names(one)), None)
            if found is None:
                raise InputError(f"{photo}: it never had a tag {tag!r}; its tags: {_listed(known)}")
            tag = found
        return self._judge(photo, confirmation(tag))

    def verdicts(self) -> Iterator[tuple[Path, Verdict]]:
        """Give what stands of what the user said of photos that are still there, wherever they were moved."""
        follow_moves(self.ledger, self.root)
        for photo in self.ledger.judged_photos():
            path = self.root / os.fsdecode(photo)
            if path.is_file():
                yield from ((path, verdict) for verdict in newest(self.ledger.verdicts(photo, None)))

    def judged(self, photo: ImageTags) -> tuple[Tag, ...]:
        """Return the tags of a photo after what the user said of them, without writing anything."""
        try:
            digest = photo.sha256 or bytes.fromhex(sha256_file(photo.path))
        except OSError:
            digest = None
        key = self.key(photo.path)
        verdicts = self.ledger.verdicts(key, digest)
        if verdicts and not self._has_followed:
            self._has_followed = True
            follow_moves(self.ledger, self.root)  # another photo may have this path by now
            verdicts = self.ledger.verdicts(key, digest)
        return judged(photo.tags, verdicts) if verdicts else photo.tags

    def recorded(self, photo: Path) -> tuple[Tag, ...] | None:
        """Return the tags that a run recorded for a photo; None if none has, or the photo has changed since."""
        key = self.key(photo)
        row = self.ledger.photo(key)
        with suppress(OSError):
            now = photo.stat()
            if row is not None and (row.state, row.size, row.mtime_ns) == ("done", now.st_size, now.st_mtime_ns):
                tags = tags_from_json(self.ledger.tags(key) or "[]")
                return judged(tags, self.ledger.verdicts(key, row.sha256))
        return None

    def confirmed(self, photo: Path) -> tuple[Tag, ...]:
        """Return the tags of a photo that the user has confirmed, by its path."""
        return tuple(confirmed_tags(newest(self.ledger.verdicts(self.key(photo), None))))

    def run_key(self, model: str) -> str:
        """Return what the ledger records of a model and the options with each photo."""
        return f"{model} {self.options.key}"

    def key(self, path: Path) -> bytes:
        """Return a path below the root as the ledger knows it.

        Raises:
            InputError: The path lies elsewhere.
        """
        below = os.path.abspath(path).removeprefix(self._prefix)  # noqa: PTH100 - for each photo of a library
        if not os.path.isabs(below):  # noqa: PTH117
            return os.fsencode(below)
        whole, root = absolute(path), self.root
        if whole != root:
            whole = whole.resolve() if whole.is_dir() else whole.parent.resolve() / whole.name
            root = self.root.resolve()
        if not whole.is_relative_to(root):
            raise InputError(f"{path}: not in the library {self.root}: name a path below it")
        return os.fsencode(whole.relative_to(root))

    def _tag(
        self,
        paths: list[Path],
        tag_photos: TagPhotos,
        model: str,
        settled: Set[PhotoState],
        on_skip: OnNotDue | None,
        *,
        moves: bool = True,
    ) -> Iterator[Outcome]:
        """Do the work of `tag`; photos in a state of `settled` are due again only when they change."""
        if not self._read_only:
            require_writable(filter(os.path.exists, paths))  # of what is missing the walk tells
            if self._place != self.root / LEDGER:  # that one may be taken elsewhere by itself
                keep_root(self.ledger, self._place, self.root)
        if moves:
            follow_moves(self.ledger, self.root)
        batch = Batch(self.ledger, self.root, self.options, self._tool, read_only=self._read_only)
        key = self.run_key(model)
        due = DuePhotos(self.ledger, self.key, key, settled, read_only=self._read_only, on_skip=on_skip)
        try:
            for result in tag_photos(due.among(self._walk(paths))):
                work = due.pending.pop(result.path, None)
                if work is not None:
                    yield from batch.take(work, result)
            yield from batch.flush()
            if batch.run is not None:
                self.ledger.finish_run(batch.run)
        finally:
            batch.abandon()
            due.release()

    def _judge(self, photo: Path, verdict: Verdict) -> list[Outcome]:
        outcomes = list(judge(self.files, [Judgement(photo, (verdict,))]))
        refusal = next((one.refusal for one in outcomes if one.refusal is not None), None)
        if refusal is not None:
            raise MetadataError(photo, refusal)
        return outcomes

    def _find_again(self, photo: Path) -> Path:
        """Bring the ledger up to date if a photo is not the one that it knows by this path; return its place."""
        key, gone, digest = self.key(photo), False, None
        try:
            digest = bytes.fromhex(sha256_file(photo))
        except (FileNotFoundError, NotADirectoryError):
            gone = True
        except IsADirectoryError as error:
            raise InputError(f"{photo}: this is a folder: give one of its photos") from error
        except OSError:
            return photo  # what follows tells why
        if gone and next(self.ledger.tags_of(key), None) is None:
            raise InputError(f"{photo}: no such file, and nothing was written for it: check the spelling")
        prior = self.ledger.of_photo(key)
        if gone or prior is None or prior.photo_sha256 not in {None, digest}:
            moves = follow_moves(self.ledger, self.root)
            if gone and key not in moves:
                raise InputError(f"{photo}: it was moved or deleted, and is not found in {self.root}")
            photo = self.root / os.fsdecode(moves[key]) if gone else photo
        return photo

    def _known_tags(self, photo: Path) -> dict[str, Tag]:
        """Tags that a photo has or had, by their name in lower case."""
        known: dict[str, Tag] = {}
        for text in self.ledger.tags_of(self.key(photo)):
            for tag in tags_from_json(text):
                known.setdefault(tag.name.casefold(), tag)
        return known

    def _walk(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Give the photos below `paths` one by one; what is left out stops nothing if somebody is told of it."""
        tell = self._on_left_out or refuse_missing

        def left_out(skipped: Skipped) -> None:
            if self._told is None or skipped not in self._told:
                tell(skipped)
            if self._told is not None:
                self._told.add(skipped)

        return walk_photos(paths, exclude=self._exclude, apart=self._apart, on_skip=left_out)


def _listed(known: Mapping[str, Tag]) -> str:
    return ", ".join(sorted(tag.name for tag in known.values())) or "none"
