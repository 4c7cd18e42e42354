"""`landmarks learn`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landmarks.cli import options
from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from landmarks.fewshot.enrollment import Lesson


def learn(
    name: Annotated[str | None, typer.Argument(help="Name of the landmark.")] = None,
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos that show it, or folders; five or more.")
    ] = None,
    from_library: Annotated[
        Path | None, typer.Option(help="Learn from what was confirmed and rejected in this library.")
    ] = None,
    model: options.Model = "world34",
) -> None:
    """Teach a model a landmark from a few photos, without training; landmarks tag then knows it too.

    What is learnt lies beside your own model, or in your data folder for one that comes with the package.
    """
    from landmarks.fewshot.enrollment import Teacher
    from landmarks.imaging.photos import SkipCounter, find_photos
    from landmarks.library.teaching import learn_from_library
    from landmarks.model.folder import find_model

    if (from_library is None) == (name is None) or (name is not None and not photos):
        raise SettingsError("landmarks learn needs a name and photos, or else --from-library FOLDER")
    teacher = Teacher(find_model(model))
    skipped = SkipCounter(partial(typer.echo, err=True))
    if name is not None:
        lessons = [teacher.learn(name, find_photos(photos or [], on_skip=skipped))]
    else:
        from landmarks.cli.verdicts import open_library

        with open_library(Path(str(from_library)), None) as library:
            lessons = learn_from_library(teacher, library)
        if not lessons:
            typer.echo(f"{from_library}: nothing was confirmed there yet: see landmarks confirm", err=True)
    for lesson in lessons:
        _show(lesson)
    if skipped.failed or any(lesson.failed for lesson in lessons):
        raise typer.Exit(2)


def _show(lesson: Lesson) -> None:
    landmark = lesson.landmark
    typer.echo(f"{landmark.name}: learnt from {len(landmark.vectors)} photos, {lesson.added} of them new")
    for one in lesson.confusions:
        word = "easily confused with" if one.confused else "most like"
        typer.echo(f"  {word} {one.name} ({one.similarity:.2f})")
    if lesson.weak:
        typer.echo(
            f"{landmark.name}: {lesson.weak} of its photos would not be recognised from the others: "
            "give more photos, or only such as show the same side of it",
            err=True,
        )
    for photo, reason in lesson.failed:
        typer.echo(f"{photo}: {reason}", err=True)
