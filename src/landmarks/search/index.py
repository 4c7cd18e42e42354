"""An index over a folder of photos, brought up to date: what is new is embedded, what is gone is taken out.

The table is written every few hundred photos, so a build that is broken off goes on where it stopped. Photos are
known by their path below the folder, so the folder may move with the index inside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from landmarks.errors import InputError, SearchError
from landmarks.files.state import may_store, state_of
from landmarks.files.walker import Skipped
from landmarks.imaging.photos import OnSkip, find_photos
from landmarks.search.embedder import EmbeddedPhoto, Embedder, embed_photos
from landmarks.search.table import Header, PhotoTable, Row, exists, is_local, writing
from landmarks.tagging.settings import TagSettings

INDEX = Path(".landmarks", "index")
"""Where the index lies below the folder of photos, unless another place is named."""

_ROWS = 512  # photos that a killed build loses at most


@dataclass(frozen=True)
class IndexJob:
    """What to index, where and how.

    Attributes:
        root: The folder of photos.
        place: Where the index lies: a folder, or the address of object storage.
        model: Model folder.
        rebuild: Begin anew, whatever was built before.
        workers: How many, or None for one per core.
        exclude: Glob patterns of what is skipped.
        settings: How to tag.
    """

    root: Path
    place: str
    model: Path
    rebuild: bool = False
    workers: int | None = None
    exclude: tuple[str, ...] = ()
    settings: TagSettings = field(default_factory=TagSettings)


@dataclass(frozen=True)
class IndexReport:
    """What became of the photos.

    Attributes:
        embedded: How many are new or changed, or were tagged when the model had not been taught the same.
        kept: How many were there already.
        removed: How many were taken out because they are gone, or cannot be read any more.
        failed: How many photos and folders could not be read.
    """

    embedded: int
    kept: int
    removed: int
    failed: int


def default_place(root: Path) -> str:
    """Return where the index of a folder is stored unless another place is named: in it, or with the user.

    LanceDB takes only paths in UTF-8.
    """
    folder = Path(os.path.abspath(root))  # noqa: PTH100 - links stay, as in a library
    if _is_utf8(folder) and ((folder / INDEX).exists() or may_store(folder)):
        return str(root / INDEX)
    return str(state_of(folder) / INDEX.name)


def _is_utf8(path: Path) -> bool:
    return str(path).encode("utf-8", "replace").decode() == str(path)


def find_place(path: Path) -> str:
    """Return the place of the index of the nearest folder above, or of `path` itself where there is none."""
    folder = Path(os.path.abspath(path))  # noqa: PTH100 - links stay, as in a library
    for candidate in (folder, *folder.parents):
        if exists(default_place(candidate)):
            return default_place(candidate)
    return default_place(folder)


def place_of(given: str) -> str:
    """Return the place of an index that is named by itself, by the folder that was indexed, or by one below it."""
    return find_place(Path(given)) if is_local(given) and Path(given).is_dir() and not exists(given) else given


def encode(relative: Path) -> str:
    """Write a path below the root as a row holds it: ASCII, also for names that are no text."""
    return quote(os.fsencode(relative.as_posix()), safe="/")


def decode(photo: str) -> Path:
    """Read back what `encode` wrote."""
    return Path(os.fsdecode(unquote_to_bytes(photo)))


def check_model(table: PhotoTable, embedder: Embedder) -> None:
    """Refuse an index of another model.

    Raises:
        SearchError: Its vectors cannot be compared with those of the model.
    """
    if table.header.model != embedder.identity:
        raise SearchError(
            f"{table.place}: built with the model {table.header.model}, not {embedder.identity}: run landmarks "
            "index FOLDER --rebuild, or name the old model by `model`"
        )


def root_of(table: PhotoTable) -> Path:
    """Return the folder that the rows of an index lie below, also after it moved with the index inside."""
    folder = _folder_of(table.place)
    return folder if table.header.inside and folder is not None else Path(table.header.root)


def _folder_of(place: str) -> Path | None:
    """Return the folder that an index lies in, unless it lies elsewhere by its name."""
    path = Path(os.path.abspath(place))  # noqa: PTH100
    folder = path.parent.parent
    return folder if is_local(place) and path == folder / INDEX else None


def update_index(
    job: IndexJob,
    *,
    on_photo: Callable[[int, int], None] | None = None,
    on_error: Callable[[Path, str], None] | None = None,
    on_skip: OnSkip | None = None,
) -> IndexReport:
    """Bring an index up to date.

    Args:
        job: What to index.
        on_photo: Called with (photos done, photos due) after each photo.
        on_error: Called with each unreadable photo and the reason.
        on_skip: Called with everything else that the folder walk skips.

    Raises:
        InputError: The folder is missing or holds no photo.
        SearchError: The index is of another model, of another folder, damaged, or being written.
        StorageError: It cannot be written there.
    """
    tell = on_error or (lambda _path, _reason: None)
    root = Path(os.path.abspath(job.root))  # noqa: PTH100
    photos, unread = _photos(job, root, on_skip)
    with writing(job.place):
        embedder = Embedder(job.model, job.settings)
        table = _open(job, root, embedder)
        known = table.known(embedder.tagged_by)
        closed = [one.path.relative_to(root) for one in unread]
        gone = [photo for photo in known if photo not in photos and not _is_below(photo, closed)]
        table.remove(gone)
        stamps = {name: stamp for name, photo in photos.items() if (stamp := stamp_of(photo)) is not None}
        due = {name: photo for name, photo in photos.items() if known.get(name) != (*stamps.get(name, ()), True)}
        for one in unread:
            tell(one.path, one.message)
        rows: list[Row] = []
        failed: list[str] = []
        answers = embed_photos(job.model, job.settings, due.values(), workers=job.workers)
        for done, (name, answer) in enumerate(zip(due, answers, strict=True), start=1):
            if (row := _row(name, answer, stamps)) is not None:
                rows.append(row)
            else:
                failed.append(name)
                tell(answer.path, answer.error or "it vanished meanwhile")
            if len(rows) == _ROWS or (rows and done == len(due)):
                table.put(rows)
                rows = []
            if on_photo is not None:
                on_photo(done, len(due))
        # What has vanished meanwhile may be back with its drive; a later run takes out what is gone.
        unreadable = [name for name in failed if name in known and stamp_of(due[name]) is not None]
        table.remove(unreadable)
        if due or gone:
            table.settle()
    return IndexReport(
        embedded=len(due) - len(failed),
        kept=len(photos) - len(due),
        removed=len(gone) + len(unreadable),
        failed=len(unread) + len(failed),
    )


def _photos(job: IndexJob, root: Path, on_skip: OnSkip | None) -> tuple[dict[str, Path], list[Skipped]]:
    """Return the photos below the root by their names in the index, and what could not be read."""
    if not root.is_dir():
        raise InputError(f"{job.root}: no such folder: check the spelling")
    unread: list[Skipped] = []

    def left_out(skipped: Skipped) -> None:
        if skipped.reason == "unreadable":
            unread.append(skipped)
        elif on_skip is not None:
            on_skip(skipped)

    found = find_photos([root], exclude=job.exclude, on_skip=left_out)
    photos = {encode(photo.relative_to(root)): photo for photo in found}
    if not photos:
        # An empty mount point must not empty the index.
        raise InputError(f"{job.root}: there are no photos in it: give the folder that holds them")
    return photos, unread


def _is_below(photo: str, folders: Iterable[Path]) -> bool:
    """Tell whether a row is of a folder that cannot be read at the moment: its photos may still be there."""
    path = decode(photo)
    return any(path.is_relative_to(folder) for folder in folders)


def _open(job: IndexJob, root: Path, embedder: Embedder) -> PhotoTable:
    """Open the table for writing, or make it."""
    header = Header(embedder.identity, str(root), embedder.dimensions, inside=_folder_of(job.place) == root)
    if job.rebuild:
        return PhotoTable.create(job.place, header)
    try:
        table = PhotoTable(job.place)
    except SearchError:
        if exists(job.place):
            raise
        return PhotoTable.create(job.place, header)
    check_model(table, embedder)
    if root_of(table) != root:
        raise SearchError(
            f"{job.place}: the index of {table.header.root}, not of {root}: name that folder, choose another "
            "`place`, or give `rebuild` if the photos have moved"
        )
    return table


def stamp_of(photo: Path) -> tuple[int, int] | None:
    """Return size and modification time of a photo as its row holds them; None if it is not there."""
    try:
        status = photo.stat()
    except OSError:
        return None
    return status.st_size, min(status.st_mtime_ns, 2**63 - 1)  # the table has integers of 64 bits


def _row(name: str, answer: EmbeddedPhoto, stamps: dict[str, tuple[int, int]]) -> Row | None:
    if answer.vector is None or name not in stamps:
        return None
    return Row(name, *stamps[name], answer.tags, answer.vector, answer.tagged_by)
