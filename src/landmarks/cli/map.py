"""`landmarks map`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Model, Option, Verbosity
from landmarks.cli.inputs import PhotoPaths, no_photos, require_ending
from landmarks.cli.verdicts import State
from landmarks.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.library.maps.spots import Spot
    from landmarks.tagging.tags import Tag

_SUFFIXES = (".html", ".gpx", ".kml")


def map(  # noqa: A001 - the name of the command
    out: Annotated[Path, Option("Map to write: .html for a web page, .gpx or .kml for other programs.")],
    model: Model = "world",
    workers: Annotated[
        int | None, Option("Worker processes for many photos.", default="one per core", minimum=1)
    ] = None,
    state: State = None,
    *,
    photos: PhotoPaths,
    verbosity: Verbosity,
) -> int:
    """Write a map of photos: a web page without any network, or GPX or KML for other programs.

    A photo is where its camera was, else where the landmark in it is. The tags are those that landmarks tag
    --write recorded; photos without a record are tagged now. Photos are never changed. The exit status is 2 if a
    photo was unreadable.
    """
    require_ending("out", out, _SUFFIXES)
    paths = photos.paths()

    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.imaging.photos import find_photos
    from landmarks.library.maps.spots import find_spot
    from landmarks.model.folder import find_model

    folder, summary = find_model(model), Summary(verbosity)
    found = find_photos(paths, exclude=photos.exclude, on_skip=summary.skip)
    if not found and summary.problems:
        return 2  # each path was reported
    if not found:
        raise no_photos(paths, summary)
    with RunProgress(verbosity, unit="photos", total=len(found)) as shown, summary.reported():
        spots: list[Spot] = []
        for photo, tags in _tags_of(found, folder, workers, state, summary, shown):
            spot = find_spot(photo, tags)
            if spot is None:
                summary.notes["without a position"] += 1
            else:
                summary.notes["on the map"] += 1
                spots.append(spot)
            shown.advance()
        if not spots:
            raise InputError(f"{paths[0]}: no photo has a position or a known landmark: there is nothing to show")
        _write(out, spots, paths[0].resolve().name, shown)
    return summary.status


def _tags_of(
    photos: list[Path],
    model: Path,
    workers: int | None,
    state: Path | None,
    summary: Summary,
    shown: RunProgress,
) -> Iterator[tuple[Path, tuple[Tag, ...]]]:
    """Yield the readable photos with their tags: the recorded ones first, then those that are tagged now."""
    from landmarks.cli.judging import Judge
    from landmarks.tagging.pipeline import find_tags_parallel
    from landmarks.tagging.settings import TagSettings

    with Judge(state) as judge:
        unknown: list[Path] = []
        for photo in photos:
            tags = judge.recorded(photo)
            if tags is None:
                unknown.append(photo)
                continue
            summary.counts["tagged" if tags else "unknown"] += 1
            yield photo, tags
        for finding in find_tags_parallel(model, TagSettings(), unknown, workers=workers):
            if finding.photo.error is not None:
                summary.counts["unreadable"] += 1
                shown.note(f"{finding.photo.path}: {finding.photo.error}")
                continue
            tags = judge.judged(finding.photo)
            summary.counts["tagged" if tags else "unknown"] += 1
            yield finding.photo.path, tags


def _write(out: Path, spots: list[Spot], title: str, shown: RunProgress) -> None:
    from landmarks.files.atomic import atomic_path
    from landmarks.library.maps.formats import FORMATS
    from landmarks.library.maps.page import web_page

    if out.is_dir():
        raise StorageError(f"{out}: this is a folder: choose another name")
    write = FORMATS.get(out.suffix.lower())
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        if write is not None:
            file.write(write(spots, title))
            return
        for part in web_page(
            spots, title, out.absolute().parent, on_error=lambda error: shown.note(f"{error}: without a thumbnail")
        ):
            file.write(part)
