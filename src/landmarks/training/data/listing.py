"""Lists the pictures of an image folder: its splits, its classes, and what was left out, by reason.

A table of pictures (`landmarks.training.data.tables`) is listed as the same `ClassPictures`.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from landmarks.errors import DataError, counted, listed
from landmarks.files.walker import Skipped, count_skipped
from landmarks.geo.gazetteer import normalise
from landmarks.imaging.formats import HEAD_BYTES, PHOTO_SUFFIXES, format_of
from landmarks.imaging.photos import SPLIT_NAMES, Split, photo_rules, split_named, walk_photos

MANIFEST = "manifest.csv"

INDEX = "index.json"
"""The file in a folder of shards that says what they contain."""

Sources = Mapping[str, Mapping[str, str]]
"""Sources of each picture `CLASS/FILE` of a manifest, by split: one of `SPLIT_NAMES`, or as written."""


@dataclass(frozen=True)
class ClassPictures:
    """The pictures of the class folders in one folder, or of one split of a table.

    Attributes:
        folder: The folder with one folder per class, or the table.
        pictures: The pictures of each class, also those in subfolders; a class may have none.
        unreadable: Class folders of which nothing can be read; they are no classes.
        notes: Sentences about what was left out.
        skipped: Each file, folder and row that was skipped, with the reason.
        sources: Source of each picture of which it is known.
        split: The split of the table, None for a folder.
    """

    folder: Path
    pictures: dict[str, list[Path]]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    sources: Mapping[Path, str] = field(default_factory=dict)
    split: Split | None = None

    @property
    def called(self) -> str:
        """What it is called, for a message."""
        return f"{self.folder.name}/" if self.split is None else f"the split {self.split}"

    def where(self, name: str) -> str:
        """Return where a class is, for a message."""
        return str(self.folder / name) if self.split is None else f"{self.folder}, {name}"


def is_shard_set(root: Path) -> bool:
    """Return whether a folder was made by `landmarks pack`, even if parts of it are missing: using it tells.

    See `landmarks.training.data.shards`. Without its shards or its index it would look like a small image folder.
    """
    index = root / INDEX
    with suppress(OSError, ValueError, TypeError):  # no index, or one of something else
        if index.is_file() and {"format", "shards", "class_counts"} <= set(json.loads(index.read_bytes())):
            return True
    with suppress(OSError):  # reading it tells what is wrong
        return any((root / "shards").glob("train-*.tar"))
    return False


def find_splits(root: Path) -> dict[Split, str]:
    """Return the name of the folder of each split; empty if the class folders are in `root` itself.

    Capitals and common other names count. A folder without folders in it is a class, whatever its name.

    Raises:
        DataError: The folder is missing or unreadable, or two folders are the same split.
    """
    try:
        if not root.is_dir():
            missing = "not a folder or a table that is read" if root.exists() else "no such folder or table"
            raise DataError(
                f"{root}: {missing}: give a folder with one folder of pictures per class, or a table: CSV, TSV, "
                "JSONL or Parquet"
            )
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read: change its permissions") from error
    found: dict[Split, str] = {}
    for split in SPLIT_NAMES:
        named = [name for name in names if split_named(name) == split and _has_folders(root / name)]
        if len(named) > 1:
            raise DataError(f"{root}: {named[0]}/ and {named[1]}/ are both the {split} split: merge them")
        if named:
            found[split] = named[0]
    return found if {"train", "test"} & found.keys() else {}


def folder_names(folder: Path) -> list[str]:
    """Return the sorted names of the subfolders that are not skipped.

    Raises:
        DataError: The folder is missing or unreadable.
    """
    rules = photo_rules()
    try:
        with os.scandir(folder) as entries:
            return sorted(
                one.name for one in entries if one.is_dir() and rules.skips(one.name, is_folder=True) is None
            )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{folder}: no such folder: give a folder of photos") from error
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: change its permissions") from error


def list_classes(folder: Path) -> ClassPictures:
    """List the pictures `folder/CLASS/picture`, also `folder/CLASS/anything/picture`, class by class.

    Raises:
        DataError: The folder is unreadable, or the name of a class is not UTF-8.
    """
    skipped: list[Skipped] = []
    names = folder_names(folder)
    for name in names:
        # Names go into files that other programs read, where bytes of an old encoding would break.
        if name != name.encode("utf-8", "replace").decode("utf-8"):
            raise DataError(f"{folder}: the folder name {name!r} is not UTF-8: rename it")
    paths = list(walk_photos([folder], on_skip=skipped.append))
    closed = {one.path.relative_to(folder).parts[0] for one in skipped if one.reason == "unreadable"}
    excluded = {one.path.name for one in skipped if one.path.parent == folder and one.reason != "unreadable"}
    pictures: dict[str, list[Path]] = {name: [] for name in names if name not in excluded}
    loose = 0
    for path in paths:
        below = path.relative_to(folder).parts
        if len(below) == 1:
            loose += 1
        elif below[0] in pictures:
            pictures[below[0]].append(path)
    unreadable = tuple(name for name in pictures if name in closed and not pictures[name])
    read = {name: found for name, found in pictures.items() if name not in unreadable}
    notes = list(skipped_notes(folder, skipped))
    if loose:
        notes.insert(0, f"{folder}: left out {counted(loose, 'picture')} in no class folder")
    each = tuple(f"{one.path}: skipped: {one.message}" for one in skipped if one.reason != "unreadable")
    return ClassPictures(folder, read, unreadable, tuple(notes), each)


def read_sources(root: Path) -> Sources:
    """Return the sources of images from the manifest of a data set; empty without one.

    Raises:
        DataError: The manifest cannot be read.
    """
    path = root / MANIFEST
    if not path.is_file():
        return {}
    found: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                split = row["split"] or ""
                of_picture = found.setdefault(normalize("NFC", f"{row['class']}/{row['file']}"), {})
                of_picture[split_named(split) or split] = row["source"] or ""
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}: not a manifest with split, class, file and source: correct or remove it"
        ) from error
    return found


def source_of(sources: Sources, picture: str, split: Split | None = None) -> str:
    """Return the source of `CLASS/FILE`, empty if unknown; of any split if the set has none."""
    known = sources.get(normalize("NFC", picture), {})  # macOS unpacks names in another form
    tried = (split, "any", "") if split else ("test", "any", "", "train", "valid", *known)
    return next((known[name] for name in tried if name in known), "")


def same_names(root: Path, names: Iterable[str]) -> list[str]:
    """Return a note of classes that everywhere else are one landmark, if there are any."""
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(normalise(name) or name, []).append(name)
    several = [listed(same, separator=" = ") for same in spelt.values() if len(same) > 1]
    if not several:
        return []
    shown = listed(several, separator="; ")
    return [
        f"{root}: classes that differ in number, case or separators alone ({shown}): merge them, or rename them"
    ]


def photo_suffix(name: str, content: bytes) -> str:
    """Return a suffix with which a folder walk finds a picture: that of its name, else that of its content."""
    suffix = Path(name).suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        return suffix
    found = format_of(content[:HEAD_BYTES])
    return found.suffixes[0] if found else ".jpg"


def skipped_notes(where: Path | str, skipped: Iterable[Skipped]) -> Iterator[str]:
    """Yield sentences about what a walk has skipped: each unreadable folder, then the numbers by reason."""
    told = Counter[str]()
    for one in skipped:
        if one.reason == "unreadable":
            yield f"{one.path}: {one.message}"
        if _counts(one):
            told[one.reason] += 1
    if told:
        yield f"{where}: skipped {sum(told.values())} ({count_skipped(told)})"


def _counts(skipped: Skipped) -> bool:
    """Return whether a reader wants to know of a skipped file: tables beside the class folders are no pictures."""
    if skipped.reason == "hidden":
        return False
    return skipped.reason != "unsupported" or skipped.path.suffix.lower() not in {".csv", ".txt", ".md"}


def _has_folders(folder: Path) -> bool:
    try:
        return bool(folder_names(folder))
    except DataError:
        return True  # reading it tells what is wrong
