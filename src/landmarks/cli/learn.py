"""`landmarks learn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from landmarks.cli.declare import Argument, Fields, Jsonl, Model, Option, Verbosity
from landmarks.cli.inputs import PhotoPaths, Reading
from landmarks.cli.output import print_json
from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from landmarks.fewshot.enrollment import Lesson


def learn(
    name: Annotated[str | None, Argument("Name of the landmark.")] = None,
    from_library: Annotated[
        Path | None, Option("Learn from the tags that were confirmed and rejected in this library.")
    ] = None,
    model: Model = "world",
    jsonl: Jsonl = False,
    *,
    photos: Annotated[PhotoPaths, Fields()],
    reading: Reading,
    verbosity: Verbosity,
) -> int:
    """Teach a model a landmark from five or more photos, without training; landmarks tag then recognises it too.

    What is learned is stored with your own model, or in your data folder for a bundled one.
    """
    given = bool(photos.photos or photos.from_file)
    if (from_library is None) == (name is None) or (name is not None and not given):
        raise SettingsError("landmarks learn needs a name and photos, or else `from_library`")

    from landmarks.cli.summary import Summary
    from landmarks.fewshot.enrollment import Teacher
    from landmarks.imaging.photos import find_photos
    from landmarks.library.teaching import learn_from_library
    from landmarks.model.folder import find_model

    summary = Summary(verbosity)
    teacher = Teacher(find_model(model), reading.limits)
    if name is not None:
        found = find_photos(photos.paths(), exclude=photos.exclude, on_skip=summary.skip)
        if summary.skipped and not verbosity.quiet:
            click.echo(summary.skipped_line(), err=True)
        lessons = [teacher.learn(name, found)]
    else:
        from landmarks.cli.verdicts import open_library

        with open_library(Path(str(from_library)), None) as library:
            lessons = learn_from_library(teacher, library)
        if not lessons:
            click.echo(f"{from_library}: nothing was confirmed there yet: see landmarks confirm", err=True)
    for lesson in lessons:
        _show(lesson, jsonl=jsonl)
    return 2 if summary.problems or any(lesson.failed for lesson in lessons) else 0


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
        click.echo(f"{landmark.name}: learned from {len(landmark.vectors)} photos, {lesson.added} of them new")
        for one in lesson.confusions:
            word = "easily confused with" if one.confused else "most like"
            click.echo(f"  {word} {one.name} ({one.similarity:.2f})")
    if lesson.warning:
        click.echo(lesson.warning, err=True)
    if lesson.weak:
        click.echo(
            f"{landmark.name}: {lesson.weak} of its photos would not be recognised from the others: "
            "give more photos, or only photos of the same side of it",
            err=True,
        )
    for photo, reason in lesson.failed:
        click.echo(f"{photo}: {reason}", err=True)
