"""`landmarks tag`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from landmarks.cli.config import is_typed
from landmarks.cli.declare import Fields, Models, Option, Verbosity, Workers
from landmarks.cli.inputs import PhotoPaths, find_input
from landmarks.cli.output import warn_of_update
from landmarks.cli.trips import Trips
from landmarks.errors import SettingsError
from landmarks.library.roots import require_one
from landmarks.metadata.settings import WriteOptions
from landmarks.tagging.settings import TagSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from landmarks.cli.display import Also, Display
    from landmarks.cli.summary import Summary
    from landmarks.cli.trips import Together
    from landmarks.tagging.tagger import Finding
    from landmarks.tagging.tags import Tag
    from landmarks.tagging.writers import Format


_TOP = 5  # candidates per photo


@dataclass(frozen=True)
class Output:
    """Output of the answers.

    Attributes:
        explain: Explain each answer: probability, threshold, score.
        heatmap: With --explain: write one heat map per photo to this folder.
        only_tagged: Leave out photos without a tag.
        jsonl: Print JSON lines, one object per photo; see docs/schemas.
        csv: Print CSV, one row per tag.
        geojson: Print GeoJSON, one feature per tag.
    """

    explain: bool = False
    heatmap: Path | None = None
    only_tagged: bool = False
    jsonl: bool = False
    csv: bool = False
    geojson: bool = False

    def __post_init__(self) -> None:
        if self.heatmap is not None and not self.explain:
            raise SettingsError("`heatmap` shows the reasons: give `explain` too")
        asked = [form for form in ("jsonl", "csv", "geojson") if getattr(self, form)]
        if len(asked) > 1:
            raise SettingsError(f"`{asked[0]}` and `{asked[1]}` cannot be given together: choose one")

    @property
    def form(self) -> Format:
        """Format of the answers."""
        return "jsonl" if self.jsonl else "csv" if self.csv else "geojson" if self.geojson else "table"


@dataclass(frozen=True)
class Writing:
    """Whether and how tags are written.

    Attributes:
        write: Write the tags into sidecar files.
        dry_run: Show what would be written; write nothing.
        watch: With --write: tag new photos as they arrive, until stopped.
        retry: With --write: also retry photos that failed before.
        ledger: With --write: file that records all changes; by default stored with the photos.
        state: Folder for such files, one per library; by default only libraries on network drives and in read-only
            folders have theirs outside, in ~/.local/state/landmarks.
    """

    write: bool = False
    dry_run: bool = False
    watch: bool = False
    retry: bool = False
    ledger: Path | None = None
    state: Path | None = None

    def __post_init__(self) -> None:
        if self.watch and self.dry_run:
            raise SettingsError("`watch` and `dry_run` cannot be given together: choose one")
        require_one(self.ledger, self.state)

    def check(self, given: Callable[[str], bool], output: Output) -> None:
        """Refuse options that have no effect.

        Args:
            given: Tells whether an option was typed; those from a configuration file are for the runs that write.
            output: Output of the answers.
        """
        about_writing = ("program", "in_place", "iptc", "gps", "sidecar", "watch", "retry")
        misplaced = [name for name in about_writing if given(name)]
        if misplaced and not (self.write or self.dry_run):
            raise SettingsError(f"`{misplaced[0]}` needs `write`: give it too")
        if self.dry_run and output.form in {"csv", "geojson"}:
            raise SettingsError(f"`dry_run` shows changes, which `{output.form}` cannot: leave one of them out")


def tag(
    model: Models = "world",
    top: Annotated[
        int | None, Option("Candidates per photo; if given, the table lists them.", default=str(_TOP), minimum=1)
    ] = None,
    workers: Workers = None,
    *,
    photos: PhotoPaths,
    settings: Annotated[
        TagSettings,
        Fields(omit=("top", "near_km", "far_km"), flags={"use_position": "--position"}),
    ],
    trips: Trips,
    output: Output,
    writing: Annotated[Writing, Fields(title="Writing")],
    options: Annotated[WriteOptions, Fields(title="Writing", flags={"program": "--for"})],
    verbosity: Verbosity,
) -> int:
    """Tag photos with the landmarks they show: the landmark, else its city, country or kind, else nothing.

    Answers go to standard output, everything else to standard error. A missing or unreadable photo is reported and
    does not stop the others; the exit status is then 2.
    """
    from landmarks.tagging.workers import prepare_workers

    paths = photos.paths()
    if len(paths) > 1 or os.path.isdir(paths[0]):  # noqa: PTH112 - False if forbidden
        prepare_workers("landmarks.cli", "landmarks.tagging.pipeline")

    from landmarks.cli.summary import Summary
    from landmarks.model.folder import find_models

    writing.check(is_typed, output)
    trips.check(places=settings.places, watch=writing.watch)
    # A trip compares candidates, also those that are not shown.
    settings = replace(settings, top=max(top or _TOP, _TOP) if trips.trips else top or _TOP)
    folders = find_models(model)
    if output.heatmap is not None and len(folders) > 1:
        raise SettingsError(f"`heatmap` shows the reasons of one model: give one of `model` {model}")
    _warn(folders)
    summary = Summary(verbosity)
    display = _display(output, summary, paths, folders, settings, candidates=top is not None)
    together = trips.together(paths, photos.exclude, folders, settings, display, top or _TOP)
    if writing.write or writing.dry_run:
        from landmarks.cli.writing import WriteJob, write_tags

        job = WriteJob(
            folders, settings, options, writing, workers, photos.exclude, together, trips.key_of(settings)
        )
        write_tags(paths, job, display)
    else:
        _show(paths, photos.exclude, folders, settings, workers, display, writing, together)
    return summary.status


def _warn(folders: tuple[Path, ...]) -> None:
    """Report models that may tag more photos wrongly, or fewer rightly, than one would expect."""
    from landmarks.model.folder import read_info
    from landmarks.tagging.several import keeps_threshold

    for folder in folders:
        info = read_info(folder)
        warn_of_update(folder)
        if info.calibration is None:
            click.echo(
                f"{info.name}: not calibrated for unknown photos, so it may name landmarks wrongly", err=True
            )
        elif len(folders) > 1 and keeps_threshold(folder):
            click.echo(
                f"{info.name}: no operating point precision, so it keeps its threshold: both models together may "
                "tag more photos wrongly than one alone",
                err=True,
            )


def _show(
    paths: list[Path],
    exclude: tuple[str, ...],
    folders: tuple[Path, ...],
    settings: TagSettings,
    workers: int | None,
    display: Display,
    writing: Writing,
    together: Together,
) -> None:
    from landmarks.cli.judging import Judge
    from landmarks.tagging.pipeline import find_tags_parallel

    found = find_input(paths, exclude, display.summary)
    if not found:
        display.nothing()
        return
    with display.over(len(found)), Judge(writing.state, writing.ledger) as judge:
        answers = find_tags_parallel(folders, settings, found, workers=workers)
        for finding in together(answers, judge):
            display.show(_judged(finding, judge.judged(finding.photo)))


def _judged(finding: Finding, tags: tuple[Tag, ...]) -> Finding:
    photo = finding.photo
    return finding if tags is photo.tags else replace(finding, photo=replace(photo, tags=tags))


def _display(
    output: Output,
    summary: Summary,
    paths: list[Path],
    folders: tuple[Path, ...],
    settings: TagSettings,
    *,
    candidates: bool,
) -> Display:
    from landmarks.cli.display import Display
    from landmarks.tagging.tagger import gazetteer_of
    from landmarks.tagging.writers import make_writer

    gazetteer = gazetteer_of(folders, settings)
    heatmaps: Also | None = None
    if output.heatmap is not None:
        from landmarks.cli.heatmaps import HeatmapFolder

        heatmaps = HeatmapFolder(output.heatmap, paths, folders[0], gazetteer, settings.limits).add
    writer = make_writer(
        output.form, gazetteer, explain=output.explain, candidates=candidates, places=settings.places
    )
    shown_elsewhere = output.form == "table"
    return Display(writer, summary, errors=shown_elsewhere, only_tagged=output.only_tagged, also=heatmaps)
