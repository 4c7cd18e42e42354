"""Lists photos with the folder walk of `landmarks.files.walker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from landmarks.errors import InputError
from landmarks.files.walker import Apart, Reason, Skipped, WalkRules, walk
from landmarks.imaging.formats import COMPANION_SUFFIXES, PHOTO_SUFFIXES, VIDEO_SUFFIXES

OnSkip = Callable[[Skipped], None]
"""Called with each file and folder that is skipped."""


_BESIDE: dict[str, Reason] = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(COMPANION_SUFFIXES, "companion"),
}


def photo_rules(exclude: str | Iterable[str] = (), apart: Apart | None = None) -> WalkRules:
    """Return what counts as a photo, except what is excluded or apart (see `landmarks.files.walker.WalkRules`)."""
    patterns = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    return WalkRules(PHOTO_SUFFIXES, patterns, _BESIDE, apart)


def refuse_missing(skipped: Skipped) -> None:
    """Raise an `InputError` for a given path that does not exist; what else is skipped is left out."""
    if skipped.reason == "missing":
        raise InputError(f"{skipped.path}: {skipped.message}")


def walk_photos(
    paths: Iterable[Path],
    *,
    exclude: str | Iterable[str] = (),
    apart: Apart | None = None,
    on_skip: OnSkip = refuse_missing,
) -> Iterator[Path]:
    """Yield the photos in `paths` one by one: files as given, folders searched recursively.

    Args:
        paths: Files and folders.
        exclude: One or more glob patterns to skip.
        apart: Folders with walks of their own.
        on_skip: Called with everything that is skipped.

    Raises:
        InputError: A path does not exist and no `on_skip` is given.
    """
    for found in walk(paths, photo_rules(exclude, apart)):
        if isinstance(found, Path):
            yield found
        else:
            on_skip(found)


def find_photos(
    paths: Iterable[Path], *, exclude: str | Iterable[str] = (), on_skip: OnSkip = refuse_missing
) -> list[Path]:
    """List the photos in `paths`, each once; arguments and errors are as of `walk_photos`."""
    return list(dict.fromkeys(walk_photos(paths, exclude=exclude, on_skip=on_skip)))
