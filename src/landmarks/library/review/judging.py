"""Records verdicts on photos, and brings what is written for them up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from landmarks.library.batch import Batch, Outcome, Work
from landmarks.library.ledger import Ledger
from landmarks.library.records import Change, PhotoRow, Verdict
from landmarks.library.review.verdicts import judged
from landmarks.library.writing import Snapshot
from landmarks.metadata.exiftool import ExifTool
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.tags import ImageTags, Tag, tags_from_json, tags_to_json

BUSY = "another process is at work on it: try again later"


@dataclass(frozen=True)
class Judgement:
    """What the user says of the tags of a photo.

    Attributes:
        photo: Its path.
        verdicts: The verdicts.
        afresh: Whether all earlier verdicts on the photo are withdrawn.
        tags: Its tags before any verdict; None to take those that were recorded last.
    """

    photo: Path
    verdicts: tuple[Verdict, ...]
    afresh: bool = False
    tags: tuple[Tag, ...] | None = None


def confirmation(tag: Tag) -> Verdict:
    """Return the verdict that confirms a tag; an estimate becomes certain by it."""
    tag = replace(tag, source="position") if tag.source == "estimated" else tag
    return Verdict(tag.name.casefold(), "confirmed", tags_to_json([tag]))


@dataclass(frozen=True)
class Files:
    """What a judge writes with.

    Attributes:
        ledger: The ledger.
        root: Root of the library.
        options: Where tags are written for photos without any so far.
        tool: ExifTool, to write into photos.
        key: Maps a photo to its key in the ledger.
    """

    ledger: Ledger
    root: Path
    options: WriteOptions
    tool: ExifTool
    key: Callable[[Path], bytes]

    def look(self, photo: Path) -> Snapshot:
        """Take a snapshot of a photo, which is read only if it is not as the ledger knows it.

        Raises:
            OSError: It cannot be read.
        """
        seen, row = Snapshot.of(photo, read=False), self.ledger.photo(self.key(photo))
        if row is not None and row.sha256 and (row.size, row.mtime_ns) == (seen.size, seen.mtime_ns):
            return replace(seen, sha256=row.sha256)
        return Snapshot.of(photo)


def judge(files: Files, judgements: Sequence[Judgement], *, everywhere: bool = False) -> Iterator[Outcome]:
    """Record verdicts, and change what is written for their photos.

    What a verdict changes belongs to the run that wrote the tags, and is undone with it.

    Args:
        files: What is written with.
        judgements: The verdicts, at most one judgement per photo.
        everywhere: Also write for photos for which nothing was written so far; otherwise the next run does that.

    Yields:
        An outcome for each photo for which something is, or cannot be, written. The verdicts stand all the same.

    Raises:
        StorageError: The disk is full.
    """
    ledger = files.ledger
    taken: list[tuple[Judgement, Snapshot]] = []
    for judgement in judgements:
        try:
            taken.append((judgement, files.look(judgement.photo)))
        except OSError as error:
            reason = f"it cannot be read ({(error.strerror or 'unknown').lower()})"
            yield Outcome(judgement.photo, "quarantined", reason=reason)
    with ledger.transaction():
        for judgement, snapshot in taken:
            record(ledger, files.key(judgement.photo), snapshot.sha256, judgement)
    due = [one for one in (_due(files, *each, everywhere=everywhere) for each in taken) if one is not None]
    with ledger.transaction():
        mine = {one.work.key for one in due if ledger.claim(one.work.key)}
    batches: dict[int | None, Batch] = {}
    try:
        for one in due:
            if one.work.key in mine:
                yield from _write(files, one, batches)
            else:
                yield Outcome(one.work.photo, "quarantined", reason=BUSY)
        for batch in batches.values():
            yield from batch.flush()
    finally:
        for run, batch in batches.items():
            batch.abandon()
            if run is None and batch.run is not None:
                ledger.finish_run(batch.run)
        ledger.release(mine)
    _follow_content(files, taken)


def record(ledger: Ledger, key: bytes, sha256: bytes | None, judgement: Judgement) -> None:
    """Record the verdicts of a judgement."""
    if judgement.afresh:
        ledger.withdraw(key, sha256)
    for verdict in judgement.verdicts:
        ledger.judge(key, sha256, verdict)


@dataclass(frozen=True)
class _Due:
    """A photo for which something is to be written.

    Attributes:
        work: The photo.
        tags: Its tags before any verdict.
        prior: The last change for it; None if there is none.
        verdicts: The new verdicts.
    """

    work: Work
    tags: tuple[Tag, ...]
    prior: Change | None
    verdicts: tuple[Verdict, ...]


def _due(files: Files, judgement: Judgement, snapshot: Snapshot, *, everywhere: bool) -> _Due | None:
    """Return what is to be written for a photo, or None."""
    ledger, key = files.ledger, files.key(judgement.photo)
    prior = ledger.of_photo(key)
    if prior is None and not everywhere:
        return None
    recorded = tags_from_json(ledger.tags(key) or "[]")
    tags = judgement.tags
    if tags is None:
        tags = _first_tags(ledger, prior) if judgement.afresh and prior is not None else recorded
    if everywhere:
        now = judged(tags, ledger.verdicts(key, snapshot.sha256))
        if now == recorded:
            return None  # what is written is what is wanted
    work = Work(judgement.photo, key, snapshot, _model_key(ledger.photo(key), snapshot))
    return _Due(work, tags, prior, judgement.verdicts)


def _model_key(row: PhotoRow | None, snapshot: Snapshot) -> str:
    """Return what is recorded as the model and options of a photo: a verdict does not look at it.

    One that is due, as it was edited since or could not be written, stays due.
    """
    if row is None:
        return ""
    is_settled = row.state == "done" and row.sha256 == snapshot.sha256
    return row.key if is_settled else row.due_key


def _write(files: Files, due: _Due, batches: dict[int | None, Batch]) -> Iterator[Outcome]:
    prior = due.prior
    run = None if prior is None else prior.run
    batch = batches.setdefault(run, Batch(files.ledger, files.root, files.options, files.tool, run=run))
    result = ImageTags(due.work.photo, due.tags, (), "" if prior is None else prior.model)
    if prior is None:
        yield from batch.take(due.work, result)
    else:
        yield from batch.amend(due.work, result, prior, due.verdicts)


def _first_tags(ledger: Ledger, prior: Change) -> tuple[Tag, ...]:
    """Return the tags that the model of the last change for a photo gave it, before any verdict."""
    query = "SELECT tags FROM changes WHERE photo = ? AND model = ? AND state = 'done' ORDER BY id LIMIT 1"
    first = ledger.row(query, prior.photo, prior.model)
    return tags_from_json(prior.tags if first is None else first[0])


def _follow_content(files: Files, taken: Iterable[tuple[Judgement, Snapshot]]) -> None:
    """Record the verdicts for the new content of photos that were written into."""
    with files.ledger.transaction():
        for judgement, snapshot in taken:
            key = files.key(judgement.photo)
            now = files.ledger.photo(key)
            if now is not None and now.sha256 != snapshot.sha256:
                for verdict in files.ledger.verdicts(key, snapshot.sha256):
                    files.ledger.judge(key, now.sha256, verdict)
