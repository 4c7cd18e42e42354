"""The photos that paths name, listed by the one walker of `landmarks.files.walker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from landmarks.errors import InputError
from landmarks.files.walker import Skipped, WalkRules, walk
from landmarks.imaging.formats import PHOTO_SUFFIXES

OnSkip = Callable[[Skipped], None]
"""Told of each file and folder that is left out."""


def photo_rules(exclude: Iterable[str] = ()) -> WalkRules:
    """Return what counts as a photo, less what glob patterns exclude (see `landmarks.files.walker.WalkRules`)."""
    return WalkRules(PHOTO_SUFFIXES, tuple(exclude))


def walk_photos(
    paths: Iterable[Path], *, exclude: Iterable[str] = (), on_skip: OnSkip | None = None
) -> Iterator[Path]:
    """Give the photos that `paths` name one by one: files as given, folders searched below.

    Args:
        paths: Files and folders.
        exclude: Glob patterns of what is left out.
        on_skip: Told of all that is left out.

    Raises:
        InputError: A path does not exist and there is no `on_skip` to tell.
    """
    for found in walk(paths, photo_rules(exclude)):
        if isinstance(found, Path):
            yield found
        elif on_skip is not None:
            on_skip(found)
        elif found.reason == "missing":
            raise InputError(f"{found.path}: {found.message}")


def find_photos(
    paths: Iterable[Path], *, exclude: Iterable[str] = (), on_skip: OnSkip | None = None
) -> list[Path]:
    """List the photos that `paths` name, each once; the arguments and errors are those of `walk_photos`."""
    return list(dict.fromkeys(walk_photos(paths, exclude=exclude, on_skip=on_skip)))
