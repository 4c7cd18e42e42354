"""Lists photos with the folder walk of `landmarks.files.walker`, and tells splits and kinds by their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from landmarks.errors import InputError
from landmarks.files.walker import Apart, Reason, Skipped, WalkRules, walk
from landmarks.imaging.formats import COMPANION_SUFFIXES, PHOTO_SUFFIXES, VIDEO_SUFFIXES

OnSkip = Callable[[Skipped], None]
"""Called with each file and folder that is skipped."""

Split = Literal["train", "valid", "test"]

SPLIT_NAMES: dict[Split, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "valid": frozenset({"val", "valid", "validation"}),
    "test": frozenset({"test", "testing"}),
}
"""Names of splits, case-folded."""

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


def split_named(name: str) -> Split | None:
    """Return the split of a folder or row, in capitals or not; None if it is no name of a split."""
    return next((split for split, known in SPLIT_NAMES.items() if name.casefold() in known), None)


def photos_by_kind(folder: Path, *, on_skip: OnSkip = refuse_missing) -> dict[str, list[Path]]:
    """Return the photos in each subfolder, by its name; those in none of them under the empty name, last.

    The folders of a split (`folder/train/KIND/photo`) are subfolders too; a kind has its photos of all splits.

    Args:
        folder: The folder.
        on_skip: Called with everything that is skipped.

    Raises:
        InputError: The folder does not exist and no `on_skip` is given.
    """
    kinds: dict[str, list[Path]] = {}
    for photo in find_photos([folder], on_skip=on_skip):
        above = photo.relative_to(folder).parts[:-1]
        if len(above) > 1 and split_named(above[0]):
            above = above[1:]
        kinds.setdefault(above[0] if above else "", []).append(photo)
    return dict(sorted(kinds.items(), key=lambda kind: (not kind[0], kind[0])))
