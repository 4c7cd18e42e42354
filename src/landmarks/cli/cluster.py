"""`landmarks cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landmarks.cli import options
from landmarks.errors import SettingsError

FORMATS = ("parquet", "lance")


def cluster(
    source: Annotated[
        str, typer.Argument(help="Folder of photos or of Parquet files; a path or s3://... address.")
    ],
    out: Annotated[str, typer.Argument(help="Folder for the results; all machines must see it.")],
    model: options.Model = "world34",
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, e.g. auto. [default: RAY_ADDRESS, else this machine]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that tag. [default: one a core of the cluster]")
    ] = None,
    part_size: Annotated[int, typer.Option(help="Photos of a part, each a file of results.")] = 1000,
    column: Annotated[str, typer.Option(help="Column of Parquet files that holds the photos.")] = "bytes",
    path_column: Annotated[str, typer.Option(help="Column of Parquet files that holds their names.")] = "path",
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Write embeddings too (16-bit floats).")
    ] = False,
    table_format: Annotated[
        str, typer.Option("--format", help="parquet, or lance for a table as well, which LanceDB searches.")
    ] = "parquet",
    top: Annotated[int, typer.Option(help="Candidates a photo.")] = 5,
    min_confidence: options.MinConfidence = None,
    position: options.Position = True,
) -> None:
    """Tag many photos on a Ray cluster or on all cores of this machine; Parquet files or a Lance table out.

    The same command goes on with a job that was stopped. The exit status is 2 where photos could not be read (see
    the column error), and 1 where parts are missing.
    """
    from landmarks.cli.progress import RunProgress
    from landmarks.cluster.job import run_job
    from landmarks.cluster.plan import Plan
    from landmarks.cluster.source import Columns
    from landmarks.model.folder import find_model
    from landmarks.tagging.settings import TagSettings

    if table_format not in FORMATS:
        raise SettingsError(f"--format must be one of {', '.join(FORMATS)}, not {table_format!r}")
    if table_format == "lance":
        from landmarks.cluster.table import write_table  # before the work, lest LanceDB be missing after it
    plan = Plan(
        source=_absolute(source),
        out=_absolute(out),
        model=str(find_model(model).absolute()),
        settings=TagSettings(top=top, min_confidence=min_confidence, use_position=position),
        columns=Columns(column, path_column),
        embeddings=embeddings,
        part_size=part_size,
    )
    with RunProgress() as shown:
        shown.stage(f"tagging {source}")
        report = run_job(plan, address=address, workers=workers, progress=shown.progress)
        if table_format == "lance" and not report.missing:
            shown.stage("writing the Lance table")
            write_table(plan, report.photos)
    typer.echo(f"{report.photos} photos in {out}; {report.done} tagged now, {report.failed} of them unreadable")
    if report.missing:
        typer.echo(
            f"{report.missing} parts are missing, because their process died: run the command again", err=True
        )
        raise typer.Exit(1)
    if report.failed:
        raise typer.Exit(2)


def _absolute(address: str) -> str:
    """Return a path that means the same in every process; addresses are left alone."""
    return address if "://" in address else str(Path(address).absolute())
