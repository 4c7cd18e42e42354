"""`landmarks undo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def undo(
    path: Annotated[Path, typer.Argument(help="Library, a folder in it, or one photo.")] = Path(),
    run: Annotated[int | None, typer.Option(help="Only what this run wrote; see --list.")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs and change nothing.")] = False,
    ledger: Annotated[Path | None, typer.Option(help="The ledger, where it is not beside the photos.")] = None,
) -> None:
    """Take back what landmarks tag --write has written: all of it, below a folder, or of one run.

    A file that nobody has touched since becomes what it was, byte for byte; from others only our entries go.
    """
    from landmarks.cli.verdicts import open_library

    with open_library(path, ledger) as library:
        if list_runs:
            for row in library.runs():
                ended = "" if row.finished is not None else "  (broken off)"
                typer.echo(f"run {row.id}  {_time(row.started)}  {row.standing} changes stand  {row.model}{ended}")
            return
        below = None if path.resolve() == library.root.resolve() else path
        kept = 0
        for undone in library.undo(run=run, below=below):
            typer.echo(f"{undone.status}: {undone.target}")
            if undone.status == "kept":
                typer.echo(f"{undone.target}: {undone.reason}", err=True)
                kept += 1
    if kept:
        raise typer.Exit(2)


def _time(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
