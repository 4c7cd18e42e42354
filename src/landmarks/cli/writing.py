"""`landmarks tag --write`: the tags go into a library."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import FrameType

from landmarks.cli.display import Display
from landmarks.errors import InputError, SettingsError
from landmarks.imaging.photos import walk_photos
from landmarks.library.batch import Outcome
from landmarks.library.library import Library, library_root
from landmarks.metadata.edit import WriteOptions
from landmarks.model.folder import read_info
from landmarks.tagging.pipeline import find_tags_parallel
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, identity_of
from landmarks.tagging.tags import ImageTags

_WORDS = {
    "written": "written",
    "planned": "would be written",
    "unchanged": "with nothing to write",
    "changed": "changed meanwhile, left to the next run",
    "quarantined": "could not be read or written",
    "skipped": "done before",
}


@dataclass(frozen=True)
class WriteJob:
    """What to write, where and how.

    Attributes:
        folder: Model folder.
        settings: What is asked of the tagger.
        options: Where tags are written.
        ledger: Another place for the ledger, or None.
        processes: How many, or None for one a core.
        dry_run: Only show what would be written.
        watch: Go on until stopped.
        retry: Take up again what could not be read.
    """

    folder: Path
    settings: TagSettings
    options: WriteOptions
    ledger: Path | None
    processes: int | None
    dry_run: bool
    watch: bool
    retry: bool


def write_tags(photos: Sequence[Path], job: WriteJob, display: Display) -> None:
    """Write the tags of photos, each into the library it lies in, and show what became of each.

    Raises:
        InputError: A path does not exist.
        SettingsError: Photos of several libraries are to be watched, or to share a ledger, or what is only shown
            is to be watched.
    """
    if job.watch and job.dry_run:
        raise SettingsError("--watch and --dry-run cannot be given together: choose one")
    for photo in photos:
        if not photo.exists():
            raise InputError(f"{photo}: no such file or folder: check the spelling")
    libraries = _by_library(photos)
    if len(libraries) > 1 and (job.watch or job.ledger is not None):
        roots = " and ".join(map(str, list(libraries)[:2]))
        flag = "--watch" if job.watch else "--ledger"
        raise SettingsError(f"{flag} is for one library, but there are {roots}: give one folder")
    counts: Counter[str] = Counter()
    total = (
        sum(1 for _ in walk_photos(photos, on_skip=lambda _: None))
        if sys.stderr.isatty() and not job.watch
        else None
    )
    with display.over(total):
        for root, paths in libraries.items():
            with Library(root, ledger=job.ledger, options=job.options, read_only=job.dry_run) as library:
                _write(library, paths, job, display, counts)
    said = [f"{counts[status]} {words}" for status, words in _WORDS.items() if counts[status]]
    display.note(f"photos: {', '.join(said) or 'none'}")


def _write(library: Library, paths: list[Path], job: WriteJob, display: Display, counts: Counter[str]) -> None:
    findings: dict[Path, Finding] = {}  # of the photos between tagger and disk, a few at a time

    def tagger(due: Iterable[Path]) -> Iterator[ImageTags]:
        for finding in find_tags_parallel(job.folder, job.settings, due, processes=job.processes, digests=True):
            findings[finding.photo.path] = finding
            yield finding.photo

    def skipped(_photo: Path) -> None:
        counts["skipped"] += 1
        display.advance()

    model = identity_of(job.folder, read_info(job.folder), job.settings)
    with _stoppable(job.watch) as stop:
        if job.watch:
            outcomes = library.watch(paths, tagger, model=model, stop=stop)
        else:
            outcomes = library.tag(paths, tagger, model=model, retry=job.retry, on_skip=skipped)
        for outcome in outcomes:
            counts[outcome.status] += 1
            finding = _told(outcome, findings.pop(outcome.path, None))
            display.show(finding, outcome.diff if job.dry_run else None)


def _told(outcome: Outcome, finding: Finding | None) -> Finding:
    """Return what to show: the tags after the user's verdicts, or why the photo was left alone."""
    photo = finding.photo if finding is not None else ImageTags(outcome.path, (), (), "")
    explanation = finding.explanation if finding is not None else None
    reason = photo.error
    if outcome.status == "quarantined":
        reason = outcome.reason or "it cannot be read"
    elif outcome.status == "changed":
        reason = "somebody changed it meanwhile: it is left to the next run"
    return Finding(replace(photo, tags=outcome.tags, error=reason), explanation)


def _by_library(photos: Iterable[Path]) -> dict[Path, list[Path]]:
    """Group photos by the library they lie in; a new library is never made inside another one."""
    roots = {photo: library_root(photo) for photo in photos}
    grouped: dict[Path, list[Path]] = {}
    for photo, root in roots.items():
        above = [other for other in roots.values() if root.is_relative_to(other)]
        grouped.setdefault(min(above, key=lambda other: len(other.parts)), []).append(photo)
    return grouped


@contextmanager
def _stoppable(watching: bool) -> Iterator[Event]:
    """Give an event that Ctrl-C or a polite end of the process sets; a second one ends at once."""
    stop = Event()
    if not watching:
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
