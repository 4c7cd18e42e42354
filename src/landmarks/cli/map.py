"""`landmarks map`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Ledger, Model, Option, State, Verbosity, Workers
from landmarks.cli.inputs import PhotoPaths, Reading, find_input, require_output
from landmarks.errors import InputError
from landmarks.library.roots import require_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from landmarks.cli.judging import Judge
    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.imaging.limits import ImageLimits
    from landmarks.library.maps.spots import Spot
    from landmarks.tagging.tagger import Finding
    from landmarks.tagging.tags import Tag

_SUFFIXES = (".html", ".gpx", ".kml")


def map(  # noqa: A001 - the name of the command
    out: Annotated[Path, Option("Map to write: .html for a web page, .gpx or .kml for other programs.")],
    model: Model = "world",
    workers: Workers = None,
    ledger: Ledger = None,
    state: State = None,
    *,
    photos: PhotoPaths,
    reading: Reading,
    verbosity: Verbosity,
) -> int:
    """Write a map of photos: a web page without any network, or GPX or KML for other programs.

    A photo is where its camera was, else where the landmark in it is, else in the town of its tags. The tags are
    those that landmarks tag --write recorded; photos without a record are tagged now. Photos are never changed.
    The exit status is 2 if a photo was unreadable.
    """
    require_output("out", out, _SUFFIXES)
    require_one(ledger, state)
    paths = photos.paths()

    from landmarks.cli.judging import Judge
    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.library.maps.spots import find_spot
    from landmarks.model.folder import find_model
    from landmarks.tagging.pipeline import find_tags_parallel

    folder, summary = find_model(model), Summary(verbosity)
    found = find_input(paths, photos.exclude, summary)
    if not found:
        return 2  # each path was reported
    with (
        RunProgress(verbosity, unit="photos", total=len(found)) as shown,
        summary.reported(),
        Judge(state, ledger) as judge,
    ):
        spots: list[Spot] = []
        tagger = partial(find_tags_parallel, folder, reading, workers=workers)
        for photo, tags in _tags_of(found, tagger, judge, summary, shown):
            spot = find_spot(photo, tags)
            if spot is None:
                summary.notes["without a position"] += 1
            else:
                summary.notes["on the map"] += 1
                spots.append(spot)
            shown.advance()
        if not spots:
            raise InputError(f"{paths[0]}: no photo has a position or a known landmark: there is nothing to show")
        _write(out, spots, paths[0].resolve().name, reading.limits, shown)
    return summary.status


def _tags_of(
    photos: list[Path],
    tagger: Callable[[list[Path]], Iterator[Finding]],
    judge: Judge,
    summary: Summary,
    shown: RunProgress,
) -> Iterator[tuple[Path, tuple[Tag, ...]]]:
    """Yield the readable photos with their tags: the recorded ones first, then those that are tagged now."""
    unknown: list[Path] = []
    for photo in photos:
        tags = judge.recorded(photo)
        if tags is None:
            unknown.append(photo)
            continue
        summary.counts["tagged" if tags else "unknown"] += 1
        yield photo, tags
    for finding in tagger(unknown):
        if finding.photo.error is not None:
            summary.counts["unreadable"] += 1
            shown.note(f"{finding.photo.path}: {finding.photo.error}")
            continue
        tags = judge.judged(finding.photo)
        summary.counts["tagged" if tags else "unknown"] += 1
        yield finding.photo.path, tags


def _write(out: Path, spots: list[Spot], title: str, limits: ImageLimits, shown: RunProgress) -> None:
    from landmarks.files.atomic import atomic_path
    from landmarks.library.maps.formats import FORMATS
    from landmarks.library.maps.page import web_page

    write = FORMATS.get(out.suffix.lower())
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        if write is not None:
            file.write(write(spots, title))
            return
        for part in web_page(
            spots,
            title,
            out.absolute().parent,
            limits,
            on_error=lambda error: shown.note(f"{error}: without a thumbnail"),
        ):
            file.write(part)
