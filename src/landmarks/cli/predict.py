"""`landmarks predict`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from landmarks.geo.gazetteer import Gazetteer
    from landmarks.model.recognizer import Recognition


def predict(
    model: Annotated[str, typer.Argument(help="Model folder, or the name of a bundled one (world34).")],
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Candidates a photo.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, one object a photo.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, one row a candidate.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 1,
    engine: Annotated[
        str, typer.Option(help="What runs the network: onnxruntime, or openvino for many photos.")
    ] = "onnxruntime",
) -> None:
    """Say which landmarks photos show, likeliest first.

    A photo that cannot be read gets its reason and stops nothing; the exit status is then 2.
    """
    from landmarks.errors import SettingsError
    from landmarks.imaging.photos import SkipCounter, find_photos
    from landmarks.model.engines import check_engine
    from landmarks.tagging.pipeline import load_model
    from landmarks.tagging.settings import TagSettings

    if as_json and as_csv:
        raise SettingsError("--json and --csv cannot be given together: choose one")
    skipped = SkipCounter(partial(typer.echo, err=True))
    found = find_photos(photos, on_skip=skipped)
    if not found:
        raise SettingsError(f"{photos[0]}: there are no photos in it: give photos or a folder of them")
    loaded = load_model(model, TagSettings(engine=check_engine(engine)), threads=threads)
    answers = loaded.predict(found, top=top)
    show = _show_json if as_json else _show_csv if as_csv else _show_table
    if show(answers, loaded.gazetteer) or skipped.failed:
        raise typer.Exit(2)


def _show_table(answers: Iterable[Recognition], places: Gazetteer) -> bool:
    failed = False
    for answer in answers:
        if answer.error is not None:
            typer.echo(f"{answer.path}: {answer.error}", err=True)
            failed = True
            continue
        typer.echo(str(answer.path))
        for candidate in answer.candidates:
            typer.echo(f"  {candidate.probability:6.1%}  {places.display_name(candidate.class_name)}")
    return failed


def _show_json(answers: Iterable[Recognition], places: Gazetteer) -> bool:
    failed = False
    for answer in answers:
        row: dict[str, object] = {"path": str(answer.path)}
        if answer.error is not None:
            row["error"] = answer.error
            failed = True
        else:
            row["candidates"] = [
                {
                    "class_name": candidate.class_name,
                    "name": places.display_name(candidate.class_name),
                    "probability": round(candidate.probability, 6),
                }
                for candidate in answer.candidates
            ]
        typer.echo(json.dumps(row, ensure_ascii=False))
    return failed


def _show_csv(answers: Iterable[Recognition], places: Gazetteer) -> bool:
    failed = False
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "class_name", "name", "probability", "error"])
    for answer in answers:
        if answer.error is not None:
            writer.writerow([answer.path, "", "", "", "", answer.error])
            failed = True
        for rank, candidate in enumerate(answer.candidates, start=1):
            name = places.display_name(candidate.class_name)
            writer.writerow([answer.path, rank, candidate.class_name, name, f"{candidate.probability:.6f}", ""])
    return failed
