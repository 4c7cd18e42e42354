"""`landmarks index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landmarks.cli import options


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of photos.")],
    model: options.Model = "world34",
    place: Annotated[
        str | None,
        typer.Option("--index", help="Folder or s3:// address of the index. [default: FOLDER/.landmarks/index]"),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Begin anew.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes for many photos. [default: one a core]")
    ] = None,
) -> None:
    """Build or update the index of a folder, for landmarks search.

    Only new and changed photos are read; those that are gone are taken out. A run that was broken off goes on
    where it stopped. The exit status is 2 where a photo could not be read.
    """
    from landmarks.cli.display import photo_bar
    from landmarks.model.folder import find_model
    from landmarks.search.index import IndexJob, default_place, update_index

    job = IndexJob(folder, place or default_place(folder), find_model(model), rebuild=rebuild, processes=processes)
    with photo_bar() as (advance, note):
        report = update_index(job, on_photo=advance, on_error=lambda photo, why: note(f"{photo}: {why}"))
    typer.echo(
        f"{job.place}: {report.embedded + report.kept} photos: {report.embedded} new or changed, {report.kept} "
        f"there before; {report.removed} taken out"
    )
    if report.failed:
        raise typer.Exit(2)
