"""`landmarks learn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from landmarks.cli.declare import Argument, Fields, Jsonl, Ledger, Model, Option, State, Verbosity
from landmarks.cli.inputs import PhotoPaths, Reading
from landmarks.cli.output import print_json, print_text, warn_of_update
from landmarks.cli.verdicts import open_library, places_to_open
from landmarks.errors import InputError, SettingsError, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from landmarks.fewshot.enrollment import Lesson
    from landmarks.library.records import Verdict


def learn(
    name: Annotated[str | None, Argument("Name of the landmark.")] = None,
    from_library: Annotated[
        Path | None, Option("Learn from the tags that were confirmed and rejected in this library.")
    ] = None,
    model: Model = "world",
    jsonl: Jsonl = False,
    ledger: Ledger = None,
    state: State = None,
    *,
    photos: Annotated[PhotoPaths, Fields()],
    reading: Reading,
    verbosity: Verbosity,
) -> int:
    """Teach a model a landmark from five or more photos, without training; landmarks tag then recognises it too.

    What is learned is stored with your own model, or in your data folder for a bundled one.
    """
    given = bool(photos.photos or photos.from_file)
    if (from_library is None) == (name is None) or (name is not None) != given:
        raise SettingsError("landmarks learn needs a name and photos, or else `from_library`")

    from landmarks.cli.summary import Summary
    from landmarks.fewshot.enrollment import Teacher
    from landmarks.imaging.photos import find_photos
    from landmarks.model.folder import find_model

    summary = Summary(verbosity)
    folder = find_model(model)
    teacher = Teacher(folder, reading.limits)
    refused: list[InputError] = []
    if name is not None:
        found = find_photos(photos.paths(), exclude=photos.exclude, on_skip=summary.skip)
        if summary.skipped and not verbosity.quiet:
            click.echo(summary.skipped_line(), err=True)
        lessons = [teacher.learn(name, found)]
    else:
        from landmarks.library.teaching import learn_from_verdicts

        lessons, refused = learn_from_verdicts(teacher, _verdicts(Path(str(from_library)), ledger, state))
        if not (lessons or refused):
            print_text(f"{from_library}: nothing was confirmed there yet: see landmarks confirm", err=True)
    for lesson in lessons:
        _show(lesson, jsonl=jsonl)
    for error in refused:
        print_text(str(error), err=True)
    warn_of_update(folder)
    return 2 if summary.problems or refused or any(lesson.failed for lesson in lessons) else 0


def _verdicts(path: Path, ledger: Path | None, state: Path | None) -> Iterator[tuple[Path, Verdict]]:
    """Yield what users said of the photos of a library, and of those of the libraries inside it."""
    for place in places_to_open(path, ledger, state):
        with open_library(place, ledger, state, looking=True) as library:
            yield from library.verdicts()


def _show(lesson: Lesson, *, jsonl: bool) -> None:
    landmark = lesson.landmark
    if jsonl:
        similar = [
            {"name": one.name, "similarity": round(float(one.similarity), 6), "confused": one.confused}
            for one in lesson.confusions
        ]
        print_json(
            {"name": landmark.name, "photos": len(landmark.vectors), "new": lesson.added, "weak": lesson.weak}
            | {"similar": similar}
        )
    else:
        shown = counted(len(landmark.vectors), "photo")
        print_text(f"{landmark.name}: learned from {shown}, {lesson.added} of them new")
        if lesson.taken_for:
            print_text(f"  {lesson.taken_for}")
        for one in lesson.confusions:
            word = "easily confused with" if one.confused else "most like"
            print_text(f"  {word} {one.name} ({one.similarity:.2f})")
    for sentence in (*lesson.warnings, *(f"{photo}: {reason}" for photo, reason in lesson.failed)):
        print_text(sentence, err=True)
