"""THE folder walk: the files below some paths, and what is skipped and why.

Every command lists its files here, so all of them find the same ones. The walk is lazy: its memory use does not
depend on the number of files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal

IGNORE_FILE = ".landmarksignore"
"""A file with this name in a folder lists patterns to skip below that folder, one per line."""

SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found"),  # Windows, Linux
        *(
            "__MACOSX",
            "@eaDir",
            "#recycle",
            "#snapshot",
            "@Recycle",
            "@Recently-Snapshot",
        ),  # archives, storage boxes
    )
)
"""Folders of operating systems and storage devices, case-folded: thumbnails and deleted files."""

PROGRAM_FOLDERS = (
    *(".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary"),  # Apple Photos, iPhoto, Aperture
    *(".lrdata", ".lrlibrary", ".cocatalog"),  # Lightroom, Capture One
)
"""How folders end that belong to a photo program: originals that only it may change, and previews of them."""

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r"})
"""Files that operating systems and photo programs leave in every folder, case-folded."""

Reason = Literal[
    "missing",
    "unreadable",
    "hidden",
    "system",
    "program",
    "excluded",
    "companion",
    "video",
    "unsupported",
    "seen",
    "apart",
]
"""Why a path is skipped; `companion`: it belongs to a photo, such as a sidecar; `seen`: a link to a folder that
was already walked; `apart`: a library of its own."""


_NAMES: dict[str, tuple[str, str]] = {
    "unreadable": ("unreadable folder", "unreadable folders"),
    "system": ("system file or folder", "system files and folders"),
    "program": ("folder of a photo program", "folders of photo programs"),
    "companion": ("sidecar or other companion", "sidecars and other companions"),
    "video": ("video", "videos"),
    "unsupported": ("not a supported format", "not a supported format"),
    "apart": ("library of its own", "libraries of their own"),
    "seen": ("link to a folder seen before", "links to folders seen before"),
}
"""What one skipped file or folder is called, and several, where it is not the reason itself."""


@dataclass(frozen=True)
class Skipped:
    """A file or folder that is skipped.

    Attributes:
        path: The file or folder.
        reason: Why.
        message: The same in a few words, without the path.
    """

    path: Path
    reason: Reason
    message: str


def count_skipped(counts: Mapping[str, int]) -> str:
    """Return the numbers of skipped files by reason in words, the largest first: `3 videos, 1 hidden`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {_name(why, several=count != 1)}" for why, count in ordered)


def _name(reason: str, *, several: bool = False) -> str:
    return _NAMES.get(reason, (reason, reason))[several]


@dataclass(frozen=True)
class Apart:
    """Folders with walks of their own.

    Attributes:
        is_apart: Tells them; they are skipped unless they are among the given paths.
        above: The folder in whose walk the given path was skipped: what is excluded there stays excluded.
    """

    is_apart: Callable[[Path], bool]
    above: Path | None = None


@dataclass(frozen=True)
class WalkRules:
    """What a walk looks for.

    Attributes:
        suffixes: Suffixes of the files to find, in lower case with the dot.
        exclude: Case-insensitive glob patterns to skip. A pattern without a slash is compared with the name of
            each file and folder, one with a slash with the path relative to the walked folder, or the whole path;
            one that ends with a slash matches folders only.
        others: Reasons to skip files with other known suffixes, even those that are named one by one, as
            `folder/*` does.
        apart: Folders with walks of their own; None if there are none.
    """

    suffixes: frozenset[str]
    exclude: tuple[str, ...] = ()
    others: Mapping[str, Reason] = field(default_factory=dict)
    apart: Apart | None = None

    def skips(self, name: str, *, is_folder: bool) -> Reason | None:
        """Return why a file or folder of this name is skipped wherever it is stored, or None."""
        if name.startswith("."):
            return "hidden"
        if is_folder:
            return self.skips_named(name, is_folder=True)
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix in self.suffixes:
            return None
        return self.skips_named(name, is_folder=False) or "unsupported"

    def skips_named(self, name: str, *, is_folder: bool) -> Reason | None:
        """Return why a file or folder is skipped even if it was named, or None."""
        if name.casefold() in (SYSTEM_FOLDERS if is_folder else SYSTEM_FILES):
            return "system"
        if is_folder:
            return "program" if _is_of_program(name) else None
        return self.others.get(os.path.splitext(name)[1].lower())  # noqa: PTH122

    def skips_path(self, below: str) -> Reason | None:
        """Return why a file is skipped by its path relative to the root, without a file system to walk."""
        *folders, name = PurePath(below).parts
        for folder in folders:
            if reason := self.skips(folder, is_folder=True):
                return reason
        if reason := self.skips(name, is_folder=False):
            return reason
        excluded = any(
            self._excluded.match(PurePath(*(*folders, name)[:end]), is_folder=end <= len(folders))
            for end in range(1, len(folders) + 2)
        )
        return "excluded" if excluded else None

    @cached_property
    def _excluded(self) -> _Patterns:
        return _Patterns(Path(), self.exclude)


def walk(paths: Iterable[Path], rules: WalkRules) -> Iterator[Path | Skipped]:
    """Walk files and folders.

    The files of a folder come before its subfolders, both sorted. A file in `paths` is found whatever its suffix,
    unless a pattern excludes it or the rules know it as something else. A folder of the system or of a photo
    program, and what an ignore file above excludes, is taken only if it is the one path that is given: `folder/*`
    names it too. Links to folders are followed last, each folder once, so that loops end and a photo gets its path
    without a link if it has one.

    Args:
        paths: Files and folders.
        rules: What to look for.

    Yields:
        The path of each file found, and each file or folder skipped.
    """
    walker, given = _Walker(rules), list(paths)
    for path in given:
        yield from walker.start(path, alone=len(given) == 1)
    yield from walker.follow_links()


def program_folder(path: Path) -> Path | None:
    """Return the folder of a photo program that a path is or lies in, also behind links; None if there is none."""
    whole = Path(os.path.realpath(path))
    return next((one for one in (*reversed(whole.parents), whole) if _is_of_program(one.name)), None)


def _is_of_program(name: str) -> bool:
    return name.lower().endswith(PROGRAM_FOLDERS)


def unreached(path: Path) -> Skipped | None:
    """Return that a path which was given is missing or cannot be reached, or None."""
    try:
        exists = path.exists()
    except OSError:
        return Skipped(path, "missing", "cannot be reached: check the spelling and the permissions")
    if exists:
        return None
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):  # a path has lost a slash of s3://bucket
        return Skipped(path, "missing", "an address: give files of this machine, or use landmarks cluster")
    return Skipped(path, "missing", "no such file or folder: check the spelling")


class _Patterns:
    """Glob patterns that apply below a folder."""

    def __init__(self, base: Path, patterns: Iterable[str]) -> None:
        self.base = base
        self._prefix = PurePath()
        self._tests = [_pattern(text) for text in patterns]

    def seen_from(self, path: Path, whole: Path) -> _Patterns:
        """Return the same patterns for a walk of `path`, which is `whole` below their folder."""
        seen = copy(self)
        seen.base, seen._prefix = path, whole.relative_to(self.base)
        return seen

    def match(self, path: PurePath, *, is_folder: bool) -> bool:
        """Return whether a pattern matches a path."""
        inside = path.is_relative_to(self.base)
        below = self._prefix / path.relative_to(self.base) if inside else PurePath(path.name)
        tried = below.name or path.name, below.as_posix(), path.as_posix()
        return any(test(*tried, is_folder) for test in self._tests)


def _pattern(text: str) -> Callable[[str, str, str, bool], bool]:
    only_folders = text.endswith("/")
    plain = text.rstrip("/").removeprefix("**/")
    whole = "/" in plain
    match = re.compile(translate(plain.removeprefix("./").lstrip("/")), re.IGNORECASE).match
    absolute = re.compile(translate(plain), re.IGNORECASE).match

    def test(name: str, below: str, path: str, is_folder: bool) -> bool:
        if only_folders and not is_folder:
            return False
        return bool(match(below) or absolute(path)) if whole else bool(match(name))

    return test


class _Walker:
    def __init__(self, rules: WalkRules) -> None:
        self._rules = rules
        self._seen: set[tuple[int, int] | str] = set()
        self._links: list[tuple[Path, tuple[_Patterns, ...]]] = []
        self._above: dict[Path, list[_Patterns]] = {}

    def start(self, path: Path, *, alone: bool) -> Iterator[Path | Skipped]:
        """Walk one of the given paths."""
        above = self._rules.apart.above if self._rules.apart is not None else None
        base = path if above is None or not path.is_relative_to(above) else above
        patterns = [_Patterns(base, self._rules.exclude)] if self._rules.exclude else []
        is_folder = os.path.isdir(path)  # noqa: PTH112 - False if forbidden
        if (missing := unreached(path)) is not None:
            yield missing
            return
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - links stay
        try:
            above_it = self._ignored_above(whole.parent)
        except OSError as error:
            yield _closed(path, f"the {IGNORE_FILE} of a folder above", error)
            return
        excluded = any(each.match(path, is_folder=is_folder) for each in patterns)
        if excluded or (not alone and _is_ignored(whole, above_it, is_folder=is_folder)):
            yield skipped_as(path, "excluded")
        elif not (is_folder and alone) and (reason := self._rules.skips_named(path.name, is_folder=is_folder)):
            yield skipped_as(path, reason)
        elif is_folder:
            patterns += [each.seen_from(path, whole) for each in above_it]
            yield from self._folder(path, tuple(patterns), given=path)
        else:
            yield path

    def _ignored_above(self, folder: Path) -> list[_Patterns]:
        """Return the patterns of the ignore files in a folder and above it, which `folder/*` does not walk."""
        if folder not in self._above:
            places = [one for one in (folder, *folder.parents) if os.path.lexists(one / IGNORE_FILE)]
            self._above[folder] = [_ignored(one) for one in places]
        return self._above[folder]

    def follow_links(self) -> Iterator[Path | Skipped]:
        """Walk the folders behind links, each once."""
        while self._links:
            path, patterns = self._links.pop(0)
            if program_folder(path) is not None:
                yield skipped_as(path, "program")
            else:
                yield from self._folder(path, patterns)

    def _folder(
        self, folder: Path, patterns: tuple[_Patterns, ...], *, given: Path | None = None
    ) -> Iterator[Path | Skipped]:
        waiting = [(folder, patterns)]
        while waiting:
            path, known = waiting.pop()
            try:
                status = path.stat()
                mark = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
                with os.scandir(path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                reason = (error.strerror or "unknown").lower()
                yield Skipped(path, "unreadable", f"the folder cannot be read ({reason}): change its permissions")
                continue
            if mark in self._seen:
                yield skipped_as(path, "seen")
                continue
            self._seen.add(mark)
            if path != given and self._rules.apart is not None and self._rules.apart.is_apart(path):
                yield skipped_as(path, "apart")
                continue
            try:
                known = self._with_ignored(path, entries, known)
            except OSError as error:
                yield _closed(path, f"its {IGNORE_FILE}", error)
                continue
            below: list[tuple[Path, tuple[_Patterns, ...]]] = []
            for entry in entries:
                yield from self._entry(path / entry.name, entry, known, below)
            waiting += reversed(below)

    def _entry(
        self,
        path: Path,
        entry: os.DirEntry[str],
        patterns: tuple[_Patterns, ...],
        below: list[tuple[Path, tuple[_Patterns, ...]]],
    ) -> Iterator[Path | Skipped]:
        is_folder = _is_folder(entry)
        reason = self._rules.skips(entry.name, is_folder=is_folder)
        if reason is None and any(each.match(path, is_folder=is_folder) for each in patterns):
            reason = "excluded"
        if reason is not None:
            yield skipped_as(path, reason)
        elif not is_folder:
            yield path
        elif entry.is_symlink():
            self._links.append((path, patterns))
        else:
            below.append((path, patterns))

    @staticmethod
    def _with_ignored(
        folder: Path, entries: Sequence[os.DirEntry[str]], known: tuple[_Patterns, ...]
    ) -> tuple[_Patterns, ...]:
        if not any(entry.name == IGNORE_FILE for entry in entries):
            return known
        return (*known, _ignored(folder))


def _ignored(folder: Path) -> _Patterns:
    """Return the patterns of the ignore file of a folder; raises `OSError`."""
    lines = (folder / IGNORE_FILE).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    given = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return _Patterns(folder, given)


def _is_ignored(path: Path, above: Iterable[_Patterns], *, is_folder: bool) -> bool:
    """Return whether the ignore files above a path exclude it or a folder around it."""
    return any(
        each.match(one, is_folder=is_folder or one != path)
        for each in above
        for one in (path, *path.parents)
        if one != each.base and one.is_relative_to(each.base)
    )


def _closed(path: Path, what: str, error: OSError) -> Skipped:
    """Return that a path is skipped as its patterns cannot be read: the user may have excluded what is there."""
    reason = (error.strerror or "unknown").lower()
    return Skipped(path, "unreadable", f"{what} cannot be read ({reason}): change its permissions or remove it")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def skipped_as(path: Path, reason: Reason) -> Skipped:
    """Return that a file or folder is skipped for a reason."""
    return Skipped(path, reason, _name(reason))
