"""The photos to evaluate a model on, with their ground truth.

A folder of classes is read as `DATA/test/CLASS/photo`, else as `DATA/CLASS/photo`; one without class folders
contains photos without a landmark. Of a table the test split is read, else all rows. Folders of negatives may have
a subfolder per kind of photo.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landmarks.errors import DataError, listed
from landmarks.files.walker import Skipped
from landmarks.geo.gazetteer import normalise
from landmarks.imaging.photos import Split, find_photos, photos_by_kind, split_named
from landmarks.model.ood import BACKGROUND
from landmarks.training.data.folders import is_table, list_splits
from landmarks.training.data.listing import (
    find_splits,
    folder_names,
    is_shard_set,
    read_sources,
    skipped_notes,
    source_of,
)
from landmarks.training.evaluation.matching import KnownLandmarks

Role = Literal["known", "unknown", "negative"]
"""A landmark that the model knows, one that it does not know, or no landmark."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo and its ground truth.

    Attributes:
        path: The file.
        role: Whether it shows a known landmark, an unknown one, or none.
        group: The key of its landmark (see `KnownLandmarks.key`), or the kind of a photo without a landmark.
        source: Its source in `manifest.csv`, or empty.
    """

    path: Path
    role: Role
    group: str
    source: str = ""


@dataclass(frozen=True)
class PhotoSet:
    """All photos of an evaluation.

    Attributes:
        photos: The photos, each file once.
        names: Display name of each landmark, by its key.
        notes: Notes for the reader: what was left out, and names that look like typos.
    """

    photos: tuple[Photo, ...]
    names: dict[str, str]
    notes: tuple[str, ...]


def collect_photos(
    data: Sequence[Path],
    negatives: Sequence[Path],
    known: KnownLandmarks,
    *,
    trained_on: Collection[str] = (),
    chosen_on: Collection[str] = (),
) -> PhotoSet:
    """List the photos of folders with their ground truth.

    Args:
        data: Folders of classes, or of photos without a landmark.
        negatives: Folders of photos without a landmark; their subfolders are kinds. One inside a folder of `data`
            is not a class of it.
        known: The landmarks of the model.
        trained_on: Names of the data sets that it was trained on, if known.
        chosen_on: Names of the folders of photos on which its thresholds were chosen, if known.

    Raises:
        DataError: A folder is missing or has no photo.
    """
    names = Counter(Path(place).name for place in {*map(_resolved, data), *map(_resolved, negatives)})
    shared = {name for name, count in names.items() if count > 1}
    listing = _Listing(known, {_resolved(folder) for folder in negatives}, trained_on, shared)
    for folder in negatives:
        listing.add_kinds(folder)
        listing.require_photos(folder, "give a folder of photos without a landmark")
    for folder in data:
        listing.add_data(folder)
        listing.require_photos(folder, "give a folder with one folder of photos per class")
    for folder in (*data, *negatives):
        if folder.resolve().name in chosen_on:
            listing.notes.append(
                f"{folder}: the thresholds of the model were chosen on photos of a folder of this name, which get "
                "fewer false tags than others: give others"
            )
    if listing.similar:
        named = listed(listing.similar)
        listing.notes.append(f"unknown to the model, which knows one of nearly this name: {named}: one landmark?")
    folders = ", ".join(map(str, [*data, *negatives]))
    notes = (*listing.notes, *skipped_notes(folders, listing.skipped.values()))
    return PhotoSet(tuple(listing.photos.values()), listing.names, notes)


class _Listing:
    def __init__(
        self, known: KnownLandmarks, negatives: set[str], trained_on: Collection[str], shared: set[str]
    ) -> None:
        self.photos: dict[str, Photo] = {}
        self.names: dict[str, str] = {}
        self.notes: list[str] = []
        self.similar: list[str] = []  # unknown landmarks, each with the known one that has nearly its name
        self.skipped: dict[Path, Skipped] = {}  # folders may be walked several times
        self._listed = 0  # photos of the last folder, also those that another folder has
        self._known = known
        self._negatives = negatives
        self._trained_on = trained_on
        self._shared = shared  # names that several folders have: those are named by their paths

    def require_photos(self, folder: Path, fix: str) -> None:
        """Refuse a folder that was added and has no photo."""
        if self._listed == 0:
            raise DataError(f"{folder}: there are no photos in it: {fix}")
        self._listed = 0

    def add_data(self, folder: Path) -> None:
        """Add a table, a folder of classes or, if that has none, of photos without a landmark."""
        if is_table(folder):
            self._add_table(folder)
            return
        if is_shard_set(folder):
            from landmarks.training.data.shards import read_shard_set  # noqa: PLC0415 - loads PyTorch

            read_shard_set(folder).folder()  # refuses a set of which pictures are missing
        top = folder_names(folder)
        splits = find_splits(folder)
        root = folder / splits["test"] if "test" in splits else folder
        halves = [name for name in top if split_named(name) and folder_names(folder / name)]
        if root == folder and ("train" in splits or (halves and halves == top)):
            half = splits.get("train") or halves[0]
            raise DataError(f"{folder}: there is {half}/ but no test/ with classes: give the folder to measure on")
        classes = [root / name for name in (folder_names(root) if root != folder else top)]
        classes = [one for one in classes if _resolved(one) not in self._negatives]
        if not classes:
            self.add_kinds(folder)
            return
        sources = read_sources(folder)
        split: Split | None = None if root == folder else "test"
        if split is None:
            self._tell_trained(folder)
        for one in classes:
            found = [
                (path, source_of(sources, path.relative_to(root).as_posix(), split))
                for path in find_photos([one], on_skip=self._skip)
            ]
            self._add_class(one.name, found)
        self._tell_loose(root)

    def _add_table(self, table: Path) -> None:
        """Add the test pictures of a table, or all of one without any."""
        splits = list_splits(table)
        self.notes += [note for each in splits.values() for note in each.notes]
        if "test" not in splits:
            self._tell_trained(table)
        for part in [splits["test"]] if "test" in splits else splits.values():
            for name, paths in part.pictures.items():
                self._add_class(name, [(path, part.sources.get(path, "")) for path in paths])

    def _add_class(self, name: str, found: Sequence[tuple[Path, str]]) -> None:
        """Add the photos of a class, each with its source, by what the model knows of it."""
        if normalise(name) == BACKGROUND:
            self._add(found, "negative", BACKGROUND)
            return
        key = self._known.key(name)
        self.names.setdefault(key, self._known.display_name(name))
        self._add(found, "known" if key in self._known else "unknown", key)
        similar = None if key in self._known else self._known.similar(name)
        if similar is not None and found:
            self.similar.append(f"{name} ({similar})")

    def add_kinds(self, folder: Path) -> None:
        """Add a folder of photos without a landmark; each subfolder is a kind, and so are photos in none."""
        sources, name = read_sources(folder), folder.resolve().name
        name = str(folder) if name in self._shared else name
        for kind, photos in photos_by_kind(folder, on_skip=self._skip).items():
            if self._known.key(kind) in self._known:
                self.notes.append(
                    f"{folder}: {kind} counts as photos without a landmark, and the model knows one of this name: "
                    "give them as DATA"
                )
            found = [(path, source_of(sources, f"{path.parent.name}/{path.name}")) for path in photos]
            self._add(found, "negative", f"{name}/{kind}" if kind else name)

    def _add(self, found: Iterable[tuple[Path, str]], role: Role, group: str) -> None:
        for path, source in found:
            self._listed += 1
            self.photos.setdefault(_resolved(path), Photo(path, role, group, source))

    def _skip(self, skipped: Skipped) -> None:
        self.skipped.setdefault(skipped.path, skipped)

    def _tell_trained(self, whole: Path) -> None:
        """Tell of photos without a test split that may be those of the training."""
        there = whole.resolve()
        of_training = split_named(there.name) in {"train", "valid"}
        if (there.parent.name if of_training else there.name) in self._trained_on:
            self.notes.append(
                f"{whole}: the model was trained on a data set of this name, and metrics of training photos are "
                "too good: give others"
            )

    def _tell_loose(self, root: Path) -> None:
        loose = sum(_resolved(path) not in self.photos for path in find_photos([root], on_skip=self._skip))
        if loose:
            self.notes.append(f"{root}: {loose} photos are in no class folder and were left out")


def roles(photos: Sequence[Photo]) -> dict[Role, int]:
    """Count photos by role."""
    counted = Counter(photo.role for photo in photos)
    return {role: counted[role] for role in ("known", "unknown", "negative")}


def _resolved(path: Path) -> str:
    return os.path.realpath(path)
