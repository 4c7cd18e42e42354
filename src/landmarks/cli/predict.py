"""`landmarks predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import click

from landmarks.cli.declare import Fields, Jsonl, Model, Option, Verbosity
from landmarks.cli.inputs import PhotoPaths, find_input
from landmarks.cli.output import print_json, print_text
from landmarks.errors import SettingsError
from landmarks.tagging.settings import TagSettings

if TYPE_CHECKING:
    from landmarks.geo.gazetteer import Gazetteer
    from landmarks.model.recognizer import Recognition


def predict(
    model: Model = "world",
    top: Annotated[int, Option("Candidates per photo.", minimum=1)] = 5,
    jsonl: Jsonl = False,
    csv: Annotated[bool, Option("Print CSV, one row per candidate.")] = False,
    threads: Annotated[int, Option("Threads of the network.", minimum=1)] = 1,
    *,
    photos: PhotoPaths,
    settings: Annotated[TagSettings, Fields(only=("engine", "max_megapixels"))],
    verbosity: Verbosity,
) -> int:
    """Classify photos: the most probable landmarks, without thresholds and GPS (see landmarks tag for those).

    An unreadable photo is reported and does not stop the others; the exit status is then 2.
    """
    if jsonl and csv:
        raise SettingsError("`jsonl` and `csv` cannot be given together: choose one")

    from landmarks.cli.progress import RunProgress
    from landmarks.cli.summary import Summary
    from landmarks.model.folder import find_model
    from landmarks.tagging.pipeline import Model as LoadedModel

    summary = Summary(verbosity)
    found = find_input(photos.paths(), photos.exclude, summary)
    if not found:
        return 2  # each path was reported
    loaded = LoadedModel(find_model(model), settings, threads=threads)
    show = _show_json if jsonl else _show_rows if csv else _show_table
    if csv:
        _print_row("path", "rank", "class_name", "name", "probability", "error")
    with RunProgress(verbosity, unit="photos", answers=True, total=len(found)) as shown, summary.reported():
        for answer in loaded.predict(found, top=top):
            show(answer, loaded.gazetteer)
            summary.counts["classified" if answer.error is None else "unreadable"] += 1
            if answer.error is not None and not (jsonl or csv):
                shown.note(f"{answer.path}: {answer.error}")
            shown.advance()
    return summary.status


def _show_table(answer: Recognition, places: Gazetteer) -> None:
    if answer.error is not None:
        return  # reported on standard error
    print_text(str(answer.path))
    for candidate in answer.candidates:
        click.echo(f"  {candidate.probability:6.1%}  {places.display_name(candidate.class_name)}")


def _show_json(answer: Recognition, places: Gazetteer) -> None:
    from landmarks.tagging.writers import candidate_object

    candidates = [candidate_object(one, places) for one in answer.candidates]
    rest = {"candidates": candidates} if answer.error is None else {"error": answer.error}
    print_json({"path": str(answer.path), **rest})


def _show_rows(answer: Recognition, places: Gazetteer) -> None:
    path = str(answer.path)
    if answer.error is not None:
        _print_row(path, "", "", "", "", answer.error)
    for rank, one in enumerate(answer.candidates, start=1):
        name = places.display_name(one.class_name)
        _print_row(path, rank, one.class_name, name, f"{one.probability:.6f}", "")


def _print_row(*cells: object) -> None:
    from landmarks.tagging.writers import csv_row

    print_text(csv_row(cells), nl=False)
