"""`landmarks runs` and `landmarks runs compare`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from landmarks.errors import SettingsError

SplitFlag = Annotated[str, typer.Option("--split", help="Split to show: valid or test.")]

runs = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List runs with the settings that differ, loss, accuracy with its 95 % interval, and time.",
)


@runs.callback()
def list_runs(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    layout: Annotated[str, typer.Option("--format", help="table, csv or markdown.")] = "table",
    split: SplitFlag = "test",
) -> None:
    """List runs with the settings that differ, loss, accuracy with its 95 % interval, and time."""
    if context.invoked_subcommand is not None:
        return
    from landmarks.training.runs.experiments import find_runs, runs_table, short_list

    writers = {"table": _as_table, "csv": _as_csv, "markdown": _as_markdown}
    if layout not in writers:
        raise SettingsError(f"--format must be one of {', '.join(writers)}, not {layout!r}")
    _require_split(split)
    found, damaged = find_runs(folder, split)
    if found:
        text, width = writers[layout](*runs_table(found, folder)), get_terminal_size().columns
        if layout == "table" and max(map(len, text.splitlines())) > width:
            text = short_list(found, folder, width)
        typer.echo(text, nl=False)
    else:
        typer.echo(f"{folder}: no runs here: train one, or name another folder with --folder", err=True)
    for sentence in damaged:
        typer.echo(f"left out: {sentence}", err=True)


@runs.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another, on the same pictures.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write. [default: FIRST-SECOND.html beside FIRST]")
    ] = None,
    split: SplitFlag = "test",
) -> None:
    """Say whether two runs differ (McNemar's test), and write a page with their curves and settings."""
    from landmarks.training.runs.comparison import verdict, write_comparison
    from landmarks.training.runs.experiments import compare_runs

    _require_split(split)
    comparison = compare_runs(first, second, split)
    page = out or first.resolve().parent / f"{first.resolve().name}-{second.resolve().name}.html"
    write_comparison(page, comparison)
    for run in comparison.runs:
        if run.accuracy is not None:
            rate = run.accuracy
            typer.echo(f"{run.root}: accuracy {rate.value:.4f} (95 % interval {rate.low:.4f} to {rate.high:.4f})")
    gain = comparison.pairs.difference
    typer.echo(f"difference {gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f})")
    typer.echo(verdict(comparison))
    typer.echo(f"page: {page}")


def _require_split(split: str) -> None:
    if split not in {"valid", "test"}:
        raise SettingsError(f"--split must be one of valid, test, not {split!r}")


def _as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (header, *rows)
    ]
    return "".join(line.rstrip() + "\n" for line in lines)


def _as_csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
