"""`landmarks doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from landmarks.cli.config import is_typed
from landmarks.cli.declare import Data, Fields, Option, Verbosity
from landmarks.cli.remote import local_data
from landmarks.errors import SettingsError, counted
from landmarks.training.config.jobs import DoctorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from landmarks.training.doctor.examination import Diagnosis
    from landmarks.training.doctor.treatment import MoveResult


def doctor(
    data: Data,
    out: Annotated[Path | None, Option("Folder for the report and the table.", default="runs/doctor-DATA")] = None,
    apply: Annotated[
        str | None,
        Option(
            "Move images with these problems to quarantine (comma-separated): broken, duplicate, leakage, "
            "conflict, label, small. Proposals to look at are not moved."
        ),
    ] = None,
    undo: Annotated[bool, Option("Restore what --apply moved; run no checks.")] = False,
    quarantine: Annotated[Path | None, Option("Where --apply moves images.", default="DATA.quarantine")] = None,
    *,
    chosen: Annotated[dict[str, object], Fields(DoctorSettings, omit=("data",), title="Options")],
    verbosity: Verbosity,
) -> int:
    """Check a data set for problems before training on it; changes nothing without --apply or --undo.

    Finds broken files, near-duplicates, leakage between train and test, wrong labels, odd classes, class imbalance
    and shortcuts. The exit status is 0 whatever is found, and 2 if an image could not be moved.
    """
    from landmarks.files.paths import is_url
    from landmarks.training.data.folders import is_table, require_outside
    from landmarks.training.doctor.findings import parse_problems
    from landmarks.training.doctor.treatment import default_quarantine, earlier_moves, restore
    from landmarks.training.doctor.treatment import quarantine as set_aside
    from landmarks.training.runs.folder import require_own_report

    if is_url(data) and (apply is not None or undo):
        raise SettingsError(f"`apply` and `undo` move the pictures of local folders: mend {data} itself")
    local = local_data(data, chosen.get("cache"), verbosity)  # type: ignore[arg-type]
    if apply is not None and is_table(local):
        raise SettingsError(f"`apply` moves the pictures of folders: correct the rows of {data} instead")
    place = quarantine or default_quarantine(local)
    if undo:
        if apply is not None:
            raise SettingsError("`undo` restores pictures and `apply` moves them: give one of them")
        for name in ("out", *chosen):
            if is_typed(name):
                raise SettingsError(f"`undo` restores pictures and runs no checks: leave out `{name}`")
        return _report("restored", restore(local, place), local)
    if is_typed("quarantine") and apply is None:
        raise SettingsError("`quarantine` is where `apply` moves pictures: give `apply` or `undo` too")
    problems = parse_problems(apply) if apply is not None else ()
    if problems:
        earlier_moves(local, place)  # a quarantine that cannot be used is told before the work
    from landmarks.training.doctor.report import TABLE, write_report

    folder = out or Path("runs") / f"doctor-{local.resolve().name}"
    require_outside(local, folder, "out")
    require_own_report(folder, TABLE)
    diagnosis = _examine(DoctorSettings(local, **chosen), verbosity)  # type: ignore[arg-type]
    _show(diagnosis)
    page = write_report(folder, diagnosis)
    click.echo(f"report: {page}")
    click.echo(f"proposals: {folder / TABLE}")
    if not problems:
        return 0
    moved = [one.path for one in diagnosis.proposals if one.problem in problems and one.action != "look"]
    return _report("moved", set_aside(moved, local, place), place)


def _examine(settings: DoctorSettings, verbosity: Verbosity) -> Diagnosis:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.doctor.examination import examine

    with RunProgress(verbosity, unit="images") as shown:
        return examine(settings, shown)


def _show(diagnosis: Diagnosis) -> None:
    from landmarks.training.doctor.findings import MEANINGS

    for problem, count in diagnosis.counts().items():
        click.echo(f"{problem:10}{count:6}  {MEANINGS[problem]}")
    for one in diagnosis.classes:
        if one.notes:
            click.echo(f"class {one.name}: {'; '.join(one.notes)}")
    for note in diagnosis.notes:
        click.echo(f"note: {note}")
    if diagnosis.shortcuts is not None:
        click.echo(f"shortcuts: {diagnosis.shortcuts.meaning}")


def _report(word: str, outcomes: Sequence[MoveResult], place: Path) -> int:
    """Print how many images were moved, and those that could not be; return the exit status."""
    refused = [one for one in outcomes if one.status == "refused"]
    for one in refused:
        click.echo(f"{one.path}: {one.reason}", err=True)
    click.echo(f"{word}: {counted(len(outcomes) - len(refused), 'picture')} to {place}")
    return 2 if refused else 0
