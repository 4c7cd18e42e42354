"""`landmarks doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from landmarks.training.doctor.examination import Diagnosis
    from landmarks.training.doctor.treatment import MoveResult


def doctor(
    data: Annotated[Path, typer.Argument(help="Image folder, as landmarks train takes it.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report and the table. [default: runs/doctor-DATA]")
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option(
            help="Problems whose pictures to move to quarantine, with commas between: broken, duplicate, leakage, "
            "conflict, label, small. Proposals to look at stay."
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put back what --apply moved, and look at nothing.")
    ] = False,
    quarantine: Annotated[
        Path | None, typer.Option(help="Where --apply moves pictures. [default: DATA.quarantine]")
    ] = None,
    min_side: Annotated[int, typer.Option(help="Short side in pixels below which a picture is small.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the cross-validation.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures and embeddings.")] = None,
) -> None:
    """Look for what is wrong with a data set before training on it; change nothing unless told to.

    Finds broken files, near-duplicates, leakage between train and test, wrong labels, odd classes, uneven classes
    and shortcuts. Ends with status 0 whatever it finds, and 2 where a picture could not be moved.
    """
    from landmarks.training.doctor.findings import parse_problems
    from landmarks.training.doctor.treatment import default_quarantine, restore
    from landmarks.training.doctor.treatment import quarantine as set_aside

    place = quarantine or default_quarantine(data)
    if undo:
        if apply is not None:
            raise SettingsError("--undo puts pictures back and --apply moves them: give one of them")
        _tell(restore(data, place), data)
        return
    problems = parse_problems(apply) if apply is not None else ()
    diagnosis = _examine(data, min_side, seed, cache)
    _show(diagnosis)
    from landmarks.training.doctor.report import TABLE, write_report

    folder = out or Path("runs") / f"doctor-{data.resolve().name}"
    page = write_report(folder, diagnosis)
    typer.echo(f"report: {page}")
    typer.echo(f"proposals: {folder / TABLE}")
    if problems:
        chosen = [one.path for one in diagnosis.proposals if one.problem in problems and one.action != "look"]
        _tell(set_aside(chosen, data, place), place)


def _examine(data: Path, min_side: int, seed: int, cache: Path | None) -> Diagnosis:
    from landmarks.cli.progress import RunProgress
    from landmarks.training.doctor.examination import DoctorSettings, examine

    settings = DoctorSettings(data, min_side, seed, cache)
    with RunProgress() as shown:
        return examine(settings, shown)


def _show(diagnosis: Diagnosis) -> None:
    from landmarks.training.doctor.findings import MEANINGS

    for problem, count in diagnosis.counts().items():
        typer.echo(f"{problem:10}{count:6}  {MEANINGS[problem]}")
    for one in diagnosis.classes:
        if one.notes:
            typer.echo(f"class {one.name}: {'; '.join(one.notes)}")
    for note in diagnosis.notes:
        typer.echo(f"note: {note}")
    if diagnosis.shortcuts is not None:
        typer.echo(f"shortcuts: {diagnosis.shortcuts.meaning}")


def _tell(outcomes: Sequence[MoveResult], place: Path) -> None:
    """Say how many pictures moved, and each that could not; raises `typer.Exit` with status 2 for those."""
    refused = [one for one in outcomes if one.status == "refused"]
    for one in refused:
        typer.echo(f"{one.path}: {one.reason}", err=True)
    word = "restored" if any(one.status == "restored" for one in outcomes) else "moved"
    typer.echo(f"{word}: {len(outcomes) - len(refused)} pictures to {place}")
    if refused:
        raise typer.Exit(2)
