"""The input photos of a command: as arguments, as a list in a file or on standard input, or in folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Argument, Fields, Option
from landmarks.errors import InputError, SettingsError
from landmarks.tagging.settings import TagSettings

if TYPE_CHECKING:
    from landmarks.cli.summary import Summary

Reading = Annotated[TagSettings, Fields(only=("max_megapixels",))]
"""How photos are read, for commands that take no other settings of tagging."""

_STDIN = Path("-")


def no_photos(paths: Sequence[Path], summary: Summary) -> InputError:
    """Return the error that there are no photos among the given paths, with what was skipped."""
    if not summary.skipped:
        return InputError(f"{paths[0]}: there are no photos in it: give photos or a folder of them")
    return InputError(f"{paths[0]}: no photo is left, {summary.skipped_line()}: give photos or a folder of them")


def find_input(paths: Sequence[Path], exclude: Sequence[str], summary: Summary) -> list[Path]:
    """Return the photos at the given paths; none if a problem with each path was reported.

    Raises:
        InputError: There are no photos, and nothing was reported that explains it.
    """
    from landmarks.imaging.photos import find_photos

    found = find_photos(paths, exclude=exclude, on_skip=summary.skip)
    if not found and not summary.problems:
        raise no_photos(paths, summary)
    return found


def require_output(argument: str, path: Path, endings: Sequence[str]) -> None:
    """Raise a `SettingsError` unless a file can have this path, and its name ends as what is written into it."""
    if path.suffix.lower() not in endings:
        shown = f"one of {', '.join(endings)}" if len(endings) > 1 else endings[0]
        raise SettingsError(f"`{argument}` {path}: end its name with {shown}")
    if path.is_dir():
        raise SettingsError(f"`{argument}` {path}: this is a folder: choose another name")


@dataclass(frozen=True)
class PhotoPaths:
    """Input photos.

    Attributes:
        photos: Photos, or folders of them; - reads a list of paths from standard input.
        from_file: File with one path per line; - is standard input.
        null: Paths in the list end with a null byte, as find -print0 writes them.
        exclude: Glob pattern of files and folders to skip; repeat it.
    """

    photos: Annotated[tuple[Path, ...], Argument()] = ()
    from_file: Path | None = None
    null: Annotated[bool, Option(short="-0")] = False
    exclude: Annotated[tuple[str, ...], Option(repeat=True)] = ()

    def paths(self) -> list[Path]:
        """Return the given paths, including those in lists.

        Raises:
            SettingsError: There are none, or standard input is given twice.
            InputError: A list cannot be read.
        """
        lists = [path for path in (*self.photos, self.from_file) if path == _STDIN]
        if len(lists) > 1:
            raise SettingsError("standard input can be read once: give - once")
        found: list[Path] = []
        for path in self.photos:
            found += self._listed(path) if path == _STDIN else [path]
        if self.from_file is not None:
            found += self._listed(self.from_file)
        if not found:
            raise SettingsError("no photos given: give photos or folders, or a list of them with `from_file`")
        return found

    def _listed(self, path: Path) -> Iterator[Path]:
        try:
            content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the list of photos cannot be read: check path and permissions") from error
        if b"\0" in content and not self.null:
            raise InputError(f"{path}: the paths in the list end with null bytes: give `null` too")
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\0" if self.null else b"\n"):
            name = line if self.null else line.removesuffix(b"\r")
            if name:
                yield Path(os.fsdecode(name))
