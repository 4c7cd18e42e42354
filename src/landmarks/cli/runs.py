"""`landmarks runs` and `landmarks runs compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Literal

import click

from landmarks.cli.declare import Argument, Jsonl, Option
from landmarks.cli.output import print_json
from landmarks.files.csv_lines import csv_line

Split = Annotated[Literal["valid", "test"], Option("Split to show.")]


def runs(
    folder: Annotated[Path, Option("Folder that holds the runs.")] = Path("runs"),
    layout: Annotated[
        Literal["table", "csv", "markdown"], Option("Format of the list.", flag="--format")
    ] = "table",
    jsonl: Jsonl = False,
    split: Split = "test",
) -> None:
    """List runs with the settings that differ, loss, accuracy with its 95 % interval, and time."""
    from landmarks.training.runs.experiments import find_runs
    from landmarks.training.runs.table import runs_table, short_list

    writers = {"table": _as_table, "csv": _as_csv, "markdown": _as_markdown}
    found, damaged = find_runs(folder, split)
    if jsonl:
        for run in found:
            rate = run.accuracy
            print_json(
                {
                    "path": str(run.root),
                    "model": run.model,
                    "data": run.data,
                    "fingerprint": run.fingerprint,
                    "settings": dict(run.settings),
                    "epochs": run.epochs,
                    "split": split,
                    "loss": run.loss,
                    "accuracy": None
                    if rate is None
                    else {"value": rate.value, "low": rate.low, "high": rate.high},
                    "seconds": run.seconds,
                }
            )
    elif found:
        text, width = writers[layout](*runs_table(found, folder)), get_terminal_size().columns
        if layout == "table" and max(map(len, text.splitlines())) > width:
            text = short_list(found, folder, width)
        click.echo(text, nl=False)
    if not found:
        click.echo(f"{folder}: no runs here: train one, or name another folder with --folder", err=True)
    for sentence in damaged:
        click.echo(f"left out: {sentence}", err=True)


def compare(
    first: Annotated[Path, Argument("A run folder.")],
    second: Annotated[Path, Argument("Another, on the same images.")],
    out: Annotated[Path | None, Option("Page to write.", default="FIRST-SECOND.html beside FIRST")] = None,
    split: Split = "test",
) -> None:
    """Test whether two runs differ (McNemar's test), and write a page with their curves and settings."""
    from landmarks.training.runs.comparison import verdict, write_comparison
    from landmarks.training.runs.experiments import compare_runs

    comparison = compare_runs(first, second, split)
    page = out or first.resolve().parent / f"{first.resolve().name}-{second.resolve().name}.html"
    write_comparison(page, comparison)
    for run in comparison.runs:
        if run.accuracy is not None:
            rate = run.accuracy
            click.echo(f"{run.root}: accuracy {rate.value:.4f} (95 % interval {rate.low:.4f} to {rate.high:.4f})")
    gain = comparison.pairs.difference
    click.echo(f"difference {gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f})")
    click.echo(verdict(comparison))
    click.echo(f"page: {page}")


COMMANDS = {"compare": compare}


def _as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from landmarks.training.runs.table import aligned

    return "".join(line + "\n" for line in aligned([header, *rows]))


def _as_csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(map(csv_line, [header, *rows]))


def _as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
