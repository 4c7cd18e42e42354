"""`landmarks undo`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Jsonl, Ledger, Option, State, Verbosity
from landmarks.cli.output import print_json, print_text
from landmarks.cli.verdicts import open_library, places_to_open
from landmarks.errors import counted
from landmarks.library.records import RunRow

_WORST = ("kept", "cleaned", "gone", "restored", "planned")
"""Outcomes of a change; of several changes of a file, the first of these counts."""


def undo(
    path: Annotated[Path, Argument("Library, a folder in it, or one photo.")] = Path(),
    run: Annotated[int | None, Option("Undo only this run; see --list.")] = None,
    list_runs: Annotated[bool, Option("List the runs and change nothing.", flag="--list")] = False,
    dry_run: Annotated[bool, Option("List the files that would be restored; change nothing.")] = False,
    jsonl: Jsonl = False,
    ledger: Ledger = None,
    state: State = None,
    *,
    verbosity: Verbosity,
) -> int:
    """Undo what landmarks tag --write wrote: all of it, below a folder, or in one run.

    A file that nobody has changed since is restored byte for byte; from other files only our entries are removed.
    The exit status is 2 if a file could not be restored.
    """
    alone = list_runs or run is not None  # runs are numbered in each library
    ends: dict[Path, set[str]] = {}  # of each file, which several runs may have written
    for place in places_to_open(path, ledger, state, alone=alone):
        with open_library(place, ledger, state, must_exist=False, looking=list_runs or dry_run) as library:
            if list_runs:
                _list(library.runs(), jsonl=jsonl)
                return 0
            below = None if place.resolve() == library.root.resolve() else place
            for undone in library.undo(run=run, below=below, dry_run=dry_run):
                known = ends.setdefault(undone.target, set())
                is_new = undone.status not in known
                known.add(undone.status)
                if jsonl and is_new:
                    print_json({"path": str(undone.target), "status": undone.status, "reason": undone.reason})
                elif is_new:
                    print_text(f"{undone.status}: {undone.target}")
                if undone.reason is not None:
                    print_text(f"{undone.target}: {undone.reason}", err=True)
    if not verbosity.quiet:
        counts = Counter(min(statuses, key=_WORST.index) for statuses in ends.values())
        words = ", ".join(f"{count} {status}" for status, count in counts.items())
        click.echo(counted(len(ends), "file") + (f": {words}" if words else ""), err=True)
    return 2 if any("kept" in statuses for statuses in ends.values()) else 0


def _list(runs: Iterable[RunRow], *, jsonl: bool) -> None:
    for row in runs:
        ended = row.finished is not None
        if jsonl:
            print_json(
                {"run": row.id, "started": row.started, "finished": row.finished, "complete": ended}
                | {"changes_in_place": row.standing, "model": row.model}
            )
        else:
            end = "" if ended else "  (interrupted)"
            changes = f"{counted(row.standing, 'change')} in place"
            click.echo(f"run {row.id}  {_time(row.started)}  {changes}  {row.model}{end}")


def _time(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
