"""`landmarks tag --write`: writes tags into a library."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import FrameType

from landmarks.cli.display import Display
from landmarks.cli.inputs import no_photos
from landmarks.cli.judging import Judge
from landmarks.cli.tag import Writing
from landmarks.cli.trips import Together
from landmarks.cli.verdicts import notes_on
from landmarks.errors import LandmarksError, LedgerError, SettingsError, StorageError
from landmarks.files.ending import on_ending
from landmarks.files.walker import Skipped, unreached
from landmarks.imaging.photos import OnSkip, walk_photos
from landmarks.library.batch import Outcome
from landmarks.library.due import NotDue
from landmarks.library.library import Library
from landmarks.library.roots import (
    absolute,
    find_ledger,
    ledger_of,
    library_root,
    other_libraries,
    root_of_ledger,
)
from landmarks.library.writing import require_writable
from landmarks.metadata.exiftool import require_exiftool
from landmarks.metadata.settings import WriteOptions
from landmarks.metadata.sidecars import is_raw
from landmarks.tagging.pipeline import find_tags_parallel
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.several import identity_of_models
from landmarks.tagging.tagger import Finding
from landmarks.tagging.tags import ImageTags
from landmarks.tagging.trips.together import Records

_WORDS = {
    "written": "written",
    "planned": "would be written",
    "unchanged": "with nothing to write",
    "changed": "changed in the meantime, left to the next run",
    "quarantined": "not written",
}


_FAILED = {"changed": "changed meanwhile", "quarantined": "unwritable"}
"""Outcomes of photos that were read, as the closing line calls them."""


@dataclass(frozen=True)
class WriteJob:
    """A job that writes tags.

    Attributes:
        folders: Model folder, or two that tag together.
        settings: How to tag.
        options: Where tags are written.
        writing: Whether and how to write.
        workers: Number of processes, or None for one per core.
        exclude: Glob patterns to skip.
        together: Sees all findings together.
        trip_key: What distinguishes photos tagged together.
    """

    folders: tuple[Path, ...]
    settings: TagSettings
    options: WriteOptions
    writing: Writing
    workers: int | None
    exclude: tuple[str, ...]
    together: Together
    trip_key: str


def write_tags(paths: Sequence[Path], job: WriteJob, display: Display) -> None:
    """Write the tags of photos, each into the library it is stored in, and show the outcomes.

    A folder below with a ledger of its own is a library of its own, with its own record. A path
    that does not exist or cannot be reached is reported and does not stop the others.

    Raises:
        SettingsError: Photos of several libraries are to be watched, or to share a ledger.
        InputError: There are no photos, the ledger is about another library, or ExifTool is missing.
        StorageError: Nothing can be written beside any of the photos.
    """
    summary, writing = display.summary, job.writing
    missing = {path: unreached(path) for path in paths}
    there = [path for path in paths if missing[path] is None]
    for skipped in filter(None, missing.values()):
        summary.skip(skipped)
    if not there:
        display.nothing()
        return
    if not writing.dry_run:
        there = _writable(there, display)
    if not writing.watch and not _has_photos(there, job, display):
        display.nothing()
        return
    if job.options.in_place and (writing.watch or not all(map(is_raw, _photos(there, job)))):
        require_exiftool()
    libraries = _by_library(there, writing)
    alone = writing.watch or writing.ledger is not None
    if len(libraries) > 1 and alone:
        roots = " and ".join(map(str, list(libraries)[:2]))
        name = "watch" if writing.watch else "ledger"
        raise SettingsError(f"`{name}` is for one library, but there are {roots}: give one folder")
    total = None
    if sys.stderr.isatty() and not writing.watch:
        total = sum(1 for _ in _photos(there, job))

    above: dict[Path, Path] = {}  # of each library inside another, the given path in which it was found

    def leave_out(skipped: Skipped) -> None:
        """Tell what is skipped, and keep a library inside for a walk of its own."""
        if skipped.reason == "apart" and not alone:
            if writing.dry_run or _is_writable(skipped.path, display):
                own = absolute(skipped.path)
                inside = libraries.setdefault(own, [])
                inside += [] if skipped.path in inside else [skipped.path]
                above[own] = above.get(root) or next(one for one in given if skipped.path.is_relative_to(one))
            return
        summary.skip(skipped)
        if skipped.reason == "apart":
            display.note(f"{skipped.path}: a library of its own: landmarks tag {skipped.path} --write tags it")

    is_done = False
    with display.over(total), Judge(writing.state, writing.ledger) as records:
        while libraries:
            root = min(libraries, key=lambda one: len(one.parts))  # those in it are found meanwhile
            given = libraries.pop(root)
            try:
                library = _open(root, job, above.get(root), leave_out)
            except (LedgerError, StorageError) as error:
                if not libraries and not is_done:
                    raise
                _report(error, display)
                continue
            with library:
                _write(library, given, job, display, records)
            is_done = True


def _open(root: Path, job: WriteJob, above: Path | None, on_left_out: OnSkip) -> Library:
    writing = job.writing
    return Library(
        root,
        ledger=writing.ledger or ledger_of(root, writing.state),
        options=job.options,
        read_only=writing.dry_run,
        exclude=job.exclude,
        apart=other_libraries(writing.state, above),
        on_left_out=on_left_out,
    )


def _photos(paths: Sequence[Path], job: WriteJob) -> Iterator[Path]:
    return walk_photos(paths, exclude=job.exclude, on_skip=lambda _told_later: None)


def _has_photos(paths: Sequence[Path], job: WriteJob, display: Display) -> bool:
    """Return whether there are photos, before a ledger is made; raise if nothing explains why there are none."""
    if next(_photos(paths, job), None) is not None:
        return True
    list(walk_photos(paths, exclude=job.exclude, on_skip=display.summary.skip))
    if not display.summary.problems:
        raise no_photos(paths, display.summary)
    return False


def _is_writable(folder: Path, display: Display) -> bool:
    try:
        require_writable([folder])
    except StorageError as error:
        _report(error, display)
        return False
    return True


def _report(error: LandmarksError, display: Display) -> None:
    """Report what stops one library or folder and leaves the others."""
    display.note(str(error))
    display.summary.problems = True


def _writable(paths: Sequence[Path], display: Display) -> list[Path]:
    """Return the paths beside or into which something can be written, and report the others.

    Raises:
        StorageError: There is none.
    """
    kept: list[Path] = []
    refused: dict[str, StorageError] = {}
    for path in paths:
        try:
            require_writable([path])
            kept.append(path)
        except StorageError as error:
            refused[str(error)] = error
    if not kept:
        raise next(iter(refused.values()))
    for problem in refused.values():
        _report(problem, display)
    return kept


def _write(library: Library, paths: list[Path], job: WriteJob, display: Display, records: Records) -> None:
    findings: dict[Path, Finding] = {}  # for the few photos between tagger and disk
    summary, writing = display.summary, job.writing

    def tagger(due: Iterable[Path]) -> Iterator[ImageTags]:
        answers = find_tags_parallel(job.folders, job.settings, due, workers=job.workers, digests=True)
        for finding in job.together(answers, records):
            findings[finding.photo.path] = finding
            yield finding.photo

    def not_due(photo: Path, why: NotDue) -> None:
        told = f"{why}: --retry tries again" if why == "unreadable before" else why
        summary.skipped[told] += 1
        is_elsewhere = why == "at work in another process"
        summary.problems |= is_elsewhere
        if is_elsewhere or summary.verbosity.verbose:
            display.note(f"{photo}: skipped: {told}")
        display.advance()

    model = identity_of_models(job.folders, job.settings) + job.trip_key
    with _stoppable(writing.watch) as stop:
        if writing.watch:
            folders = ", ".join(map(str, paths))
            display.note(f"{folders}: watched for new and changed photos until stopped (Ctrl-C)")
            outcomes = library.watch(paths, tagger, model=model, stop=stop, retry=writing.retry)
        else:
            outcomes = library.tag(paths, tagger, model=model, retry=writing.retry, on_skip=not_due)
        for outcome in outcomes:
            summary.notes[_WORDS[outcome.status]] += 1
            if outcome.rejected:
                summary.notes["with a tag rejected, as it was removed by hand"] += 1
            for note in notes_on(outcome.path, outcome):
                display.note(note)
            found = findings.pop(outcome.path, None)
            unread = found is not None and found.photo.error is not None
            failed = "unreadable" if unread else _FAILED.get(outcome.status, "unreadable")
            display.show(_told(outcome, found), outcome.diff if writing.dry_run else None, failed)


def _told(outcome: Outcome, finding: Finding | None) -> Finding:
    """Return the finding to show: the tags after the user's verdicts, or why the photo was left alone."""
    photo = finding.photo if finding is not None else ImageTags(outcome.path, (), (), "")
    explanation = finding.explanation if finding is not None else None
    reason = photo.error
    if outcome.status == "quarantined":
        reason = outcome.reason or "unreadable"
    elif outcome.status == "changed":
        reason = "it was changed in the meantime: it is left to the next run"
    return Finding(replace(photo, tags=outcome.tags, error=reason), explanation)


def _by_library(photos: Iterable[Path], writing: Writing) -> dict[Path, list[Path]]:
    """Group photos by the library they are in; a new library is never created inside another one."""
    if writing.ledger is not None:
        roots = {photo: root_of_ledger(writing.ledger, photo, writing=True) for photo in photos}
    else:
        roots = {photo: library_root(photo, writing.state) for photo in photos}
    grouped: dict[Path, list[Path]] = {}
    for photo, root in roots.items():
        is_known = find_ledger(root, writing.state) is not None
        above = [root] if is_known else [other for other in roots.values() if root.is_relative_to(other)]
        grouped.setdefault(min(above, key=lambda other: len(other.parts)), []).append(photo)
    return grouped


@contextmanager
def _stoppable(watching: bool) -> Iterator[Event]:
    """Yield an event that is set by what ends the process, such as Ctrl-C; a second time it ends at once."""
    stop = Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        handling.close()

    with ExitStack() as handling:
        if watching:
            handling.enter_context(on_ending(end))
        yield stop
