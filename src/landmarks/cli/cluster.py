"""`landmarks cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import click

from landmarks.cli.declare import Argument, Fields, Model, Option, Verbosity
from landmarks.errors import counted
from landmarks.tagging.settings import TagSettings


def cluster(
    source: Annotated[str, Argument("Folder of photos or of Parquet files; a path or s3://... address.")],
    out: Annotated[str, Argument("Folder for the results; all machines must see it.")],
    model: Model = "world",
    address: Annotated[
        str | None, Option("Ray cluster, e.g. auto.", default="RAY_ADDRESS, else this machine")
    ] = None,
    workers: Annotated[
        int | None, Option("Worker processes.", default="one per core of the cluster", minimum=1)
    ] = None,
    part_size: Annotated[int, Option("Photos per part (one result file each).")] = 1000,
    column: Annotated[str, Option("Column with the photos, in Parquet files.")] = "bytes",
    path_column: Annotated[str, Option("Column with their names, in Parquet files.")] = "path",
    embeddings: Annotated[bool, Option("Also write embeddings (16-bit floats).")] = False,
    table_format: Annotated[
        Literal["parquet", "lance"],
        Option("lance also writes a table for search with LanceDB.", flag="--format"),
    ] = "parquet",
    *,
    settings: Annotated[
        TagSettings,
        Fields(
            omit=("near_km", "far_km", "places", "own_places", "language", "engine"),
            flags={"use_position": "--position"},
        ),
    ],
    verbosity: Verbosity,
) -> int:
    """Tag many photos on a Ray cluster or on all cores of this machine; writes Parquet files or a Lance table.

    Run the same command again to continue a stopped job. The exit status is 2 if photos were unreadable (see the
    column error), and 1 if parts are missing.
    """
    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.cluster.job import run_job
    from landmarks.cluster.plan import Plan
    from landmarks.cluster.source import Columns
    from landmarks.model.folder import find_model

    if table_format == "lance":
        from landmarks.cluster.table import write_table  # before the work, lest LanceDB be missing after it
    plan = Plan(
        source=_absolute(source),
        out=_absolute(out),
        model=str(find_model(model).absolute()),
        settings=settings,
        columns=Columns(column, path_column),
        embeddings=embeddings,
        part_size=part_size,
    )
    summary = Summary(verbosity)
    with RunProgress(verbosity, unit="photos") as shown:
        shown.stage(f"tagging {source}")
        report = run_job(plan, address=address, workers=workers, progress=shown.progress, on_skip=summary.skip)
        if table_format == "lance" and not report.missing:
            shown.stage("writing the Lance table")
            write_table(plan, report.photos)
    click.echo(
        f"{counted(report.photos, 'photo')} in {out}, {report.failed} of them unreadable; {report.done} tagged now"
    )
    if summary.skipped and not verbosity.quiet:
        click.echo(summary.skipped_line(), err=True)
    if report.missing:
        why = report.reason or "their process died"
        click.echo(f"{counted(report.missing, 'part')} missing ({why}): run the command again", err=True)
        return 1
    return 2 if report.failed or summary.problems else 0


def _absolute(address: str) -> str:
    """Return an absolute path, valid in every process; URLs are unchanged."""
    return address if "://" in address else str(Path(address).absolute())
