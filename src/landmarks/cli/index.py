"""`landmarks index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Exclude, Jsonl, Model, Option, Verbosity
from landmarks.cli.inputs import Reading
from landmarks.cli.output import print_json
from landmarks.errors import counted


def index(
    folder: Annotated[Path, Argument("Folder of photos.")],
    model: Model = "world",
    place: Annotated[
        str | None,
        Option("Folder or s3:// address of the index.", default="FOLDER/.landmarks/index", flag="--index"),
    ] = None,
    exclude: Exclude = (),
    rebuild: Annotated[bool, Option("Rebuild from scratch.")] = False,
    workers: Annotated[int | None, Option("Worker processes.", default="one per core", minimum=1)] = None,
    jsonl: Jsonl = False,
    *,
    reading: Reading,
    verbosity: Verbosity,
) -> int:
    """Build or update the index of a folder, for landmarks search.

    Only new and changed photos are read; deleted ones are removed. An interrupted run continues where it stopped.
    The exit status is 2 if a photo was unreadable.
    """
    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.model.folder import find_model
    from landmarks.search.index import IndexJob, default_place, update_index

    job = IndexJob(
        folder,
        place or default_place(folder),
        find_model(model),
        rebuild=rebuild,
        workers=workers,
        exclude=exclude,
        settings=reading,
    )
    summary = Summary(verbosity)
    with RunProgress(verbosity, unit="photos") as shown, summary.reported():
        report = update_index(
            job,
            on_photo=shown.progress,
            on_error=lambda photo, why: shown.note(f"{photo}: {why}"),
            on_skip=summary.skip,
        )
        summary.counts.update(
            {"new or changed": report.embedded, "unchanged": report.kept, "unreadable": report.failed}
        )
    row = {"index": job.place, "photos": report.embedded + report.kept, "new": report.embedded}
    row |= {"unchanged": report.kept, "removed": report.removed, "unreadable": report.failed}
    if jsonl:
        print_json(row)
    else:
        click.echo(
            f"{job.place}: {counted(report.embedded + report.kept, 'photo')}: {report.embedded} new or changed, "
            f"{report.kept} unchanged; {report.removed} removed"
        )
    return 2 if report.failed or summary.problems else 0
