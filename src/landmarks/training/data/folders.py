"""Reads an image folder into samples, class names and a stratified split.

Two layouts are supported: `ROOT/train/CLASS/picture` with `ROOT/test/CLASS/picture` (torchvision's `ImageFolder`,
twice), or one folder `ROOT/CLASS/picture`, of which a seeded, stratified part becomes the test split.
"""

from __future__ import annotations

import csv
import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from landmarks.errors import DataError
from landmarks.imaging.photos import photo_rules

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        path: The image.
        label: Index of its class in `DataFolder.classes`.
        source: Its source according to the manifest of the data set, else "".
    """

    path: Path
    label: int
    source: str = ""


@dataclass(frozen=True)
class DataFolder:
    """A data set: class names in folder order, and the samples of the three splits."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images of each class in each split."""
        table: dict[str, dict[str, int]] = {name: {} for name in self.classes}
        for split, samples in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            counted = Counter(sample.label for sample in samples)
            for label, name in enumerate(self.classes):
                table[name][split] = counted[label]
        return table

    def fingerprint(self) -> str:
        """Return a hash of which images (relative path and size) are in which split with which class."""
        digest = hashlib.sha256()
        for split, samples in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            for sample in samples:
                relative = os.path.relpath(sample.path, self.root)
                line = f"{split}\0{relative}\0{sample.label}\0{sample.path.stat().st_size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def without(self, broken: Iterable[Path]) -> DataFolder:
        """Return the data set without the images in `broken`.

        Raises:
            DataError: A class is left without a training image, or validation or test without any.
        """
        gone = set(broken)
        kept = replace(
            self,
            train=tuple(s for s in self.train if s.path not in gone),
            valid=tuple(s for s in self.valid if s.path not in gone),
            test=tuple(s for s in self.test if s.path not in gone),
        )
        missing = set(range(len(self.classes))) - {sample.label for sample in kept.train}
        if missing:
            name = self.classes[min(missing)]
            raise DataError(f"{self.root}: class {name!r} has no readable training image: repair or remove it")
        for split, samples in (("validation", kept.valid), ("test", kept.test)):
            if not samples:
                raise DataError(f"{self.root}: no {split} image can be read: repair them or add others")
        return kept


@dataclass(frozen=True)
class Listing:
    """All images of a data set, before checking whether it can be trained on.

    Attributes:
        root: The data set.
        classes: Names of the class folders of all splits, sorted; a class may have no images.
        splits: The images of `train` and `test`, or of "" if the class folders are in `root` itself.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]


def list_pictures(root: Path) -> Listing:
    """List the images of an image folder without splitting or checking it.

    Raises:
        DataError: The folder is missing, unreadable, or holds fewer than two classes, no image at all, or a
            class whose name is not UTF-8.
    """
    parts = [split for split in ("train", "test") if _has_folder(root, split)] or [""]
    names = {split: _folder_names(root / split) for split in parts}
    classes = tuple(sorted({name for found in names.values() for name in found}))
    _require_classes(root / parts[0], classes)
    labels = {name: label for label, name in enumerate(classes)}
    sources = read_sources(root)
    splits = {}
    for split in parts:
        found = _samples(root / split, names[split], sources, split)
        splits[split] = tuple(replace(s, label=labels[s.path.parent.name]) for s in found)
    if not any(splits.values()):
        raise DataError(f"{root}: there is no picture in its class folders: add some")
    return Listing(root, classes, splits)


def read_data_folder(root: Path, *, valid_size: float, seed: int, limit: int | None = None) -> DataFolder:
    """Read an image folder and split it.

    Args:
        root: Folder with `train/` and `test/`, or with one folder per class.
        valid_size: Fraction of the training images of each class that becomes validation, in (0, 1).
        seed: Seed of the split; the same seed gives the same split.
        limit: At most this many training images, drawn evenly over the classes, or None for all.

    Returns:
        The data set; every class has at least one training and one validation image. A class may be missing
        from `test/`.

    Raises:
        DataError: The folder is missing, unreadable or empty, has one class, a split without its partner, a
            class without images, with too few to split or with a name that is not UTF-8.
    """
    has_train, has_test = _has_folder(root, "train"), _has_folder(root, "test")
    sources = read_sources(root)
    if has_train:
        classes = _class_names(root / "train")
        test: list[Sample] = []
        if not has_test:
            raise DataError(f"{root}: there is train/ but no test/: add test/ or give train/ itself to be split")
        extra = sorted(set(_class_names(root / "test")) - set(classes))
        if extra:
            raise DataError(f"{root / 'test'}: class {extra[0]!r} is not in train/: add it there or remove it")
        train = _samples(root / "train", classes, sources, "train")
        tested = [name for name in classes if (root / "test" / name).is_dir()]
        test = _samples(root / "test", tested, sources, "test")
        _require_pictures(root / "test", tested, test, at_least=1)
        labels = {name: label for label, name in enumerate(classes)}
        test = [replace(s, label=labels[s.path.parent.name]) for s in test]
        _require_pictures(root / "train", classes, train, at_least=2)
    elif has_test:
        raise DataError(f"{root}: there is test/ but no train/: add train/ or give test/ itself to be split")
    else:
        classes = _class_names(root)
        everything = _samples(root, classes, sources, "")
        _require_pictures(root, classes, everything, at_least=3)
        test, train = split_stratified(everything, 0.2, seed + 1)
    valid, train = split_stratified(train, valid_size, seed)
    return DataFolder(root, tuple(classes), tuple(limit_evenly(train, limit, seed)), tuple(valid), tuple(test))


def read_split(folder: Path, classes: Sequence[str]) -> list[Sample]:
    """List the images `folder/CLASS/picture` of known classes; a class may be missing.

    Raises:
        DataError: A folder is unreadable.
    """
    present = [name for name in classes if (folder / name).is_dir()]
    labels = {name: label for label, name in enumerate(classes)}
    return [replace(s, label=labels[s.path.parent.name]) for s in _samples(folder, present, {}, folder.name)]


def split_stratified(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split samples into (`share`, the rest), class by class, at least one of each class on both sides.

    Takes linear time.

    The split of a class depends on its own images and the seed alone, so adding a class moves no image of
    another.
    """
    positions: dict[int, list[int]] = {}
    for position, sample in enumerate(samples):
        positions.setdefault(sample.label, []).append(position)
    drawn: set[int] = set()
    for members in positions.values():
        random.Random(f"{seed}-{samples[members[0]].path.parent.name}").shuffle(members)  # noqa: S311 - no secret
        drawn.update(members[: min(len(members) - 1, max(1, round(share * len(members))))])
    both: tuple[list[Sample], list[Sample]] = ([], [])
    for position, sample in enumerate(samples):
        both[position not in drawn].append(sample)
    return both


def limit_evenly(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """Draw at most `limit` samples in turn from each class (at least one of each), or all with None."""
    if limit is None or limit >= len(samples):
        return list(samples)
    shuffled = list(samples)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
    rank: Counter[int] = Counter()
    ranked = []
    for sample in shuffled:
        ranked.append((rank[sample.label], sample))
        rank[sample.label] += 1
    ranked.sort(key=lambda item: item[0])
    count = max(limit, len(rank))
    return [sample for _, sample in ranked[:count]]


def _has_folder(root: Path, name: str) -> bool:
    try:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder: give a folder with one folder of pictures per class")
        return (root / name).is_dir()
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read: change its permissions") from error


def _class_names(folder: Path) -> list[str]:
    names = _folder_names(folder)
    _require_classes(folder, names)
    return names


def _folder_names(folder: Path) -> list[str]:
    try:
        names = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.is_dir() and photo_rules().skips(entry.name, is_folder=True) is None
        )
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: change its permissions") from error
    for name in names:
        # Names go into files that other programs read, where bytes of an old encoding would break.
        if name != name.encode("utf-8", "replace").decode("utf-8"):
            raise DataError(f"{folder}: the folder name {name!r} is not UTF-8: rename it")
    return names


def _require_classes(folder: Path, names: Sequence[str]) -> None:
    if not names:
        raise DataError(f"{folder}: there is no folder of pictures in it: make one folder per class")
    if len(names) == 1:
        raise DataError(f"{folder}: there is one class, {names[0]!r}, and nothing to tell it from: add another")


def _samples(folder: Path, classes: Sequence[str], sources: dict[str, str], split: str) -> list[Sample]:
    samples, rules = [], photo_rules()
    for label, name in enumerate(classes):
        try:
            entries = sorted(entry.name for entry in os.scandir(folder / name))
        except OSError as error:
            raise DataError(f"{folder / name}: the folder cannot be read: change its permissions") from error
        for file in entries:
            if rules.skips(file, is_folder=False) is None:
                source = sources.get(f"{split}/{name}/{file}", "")
                samples.append(Sample(folder / name / file, label, source))
    return samples


def _require_pictures(folder: Path, classes: Sequence[str], samples: Sequence[Sample], *, at_least: int) -> None:
    counted = Counter(sample.label for sample in samples)
    for label, name in enumerate(classes):
        if counted[label] == 0:
            raise DataError(f"{folder / name}: no pictures in it: add some or remove the folder")
        if counted[label] < at_least:
            raise DataError(
                f"{folder / name}: a class needs at least {at_least} pictures to be split, not {counted[label]}: "
                "add pictures or remove the folder"
            )


def read_sources(root: Path) -> dict[str, str]:
    """Return the sources of images by `SPLIT/CLASS/FILE`, from the manifest of a data set; empty without one.

    Raises:
        DataError: The manifest cannot be read.
    """
    path = root / MANIFEST
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        return {f"{row['split']}/{row['class']}/{row['file']}": row["source"] or "" for row in rows}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}: not a manifest with split, class, file and source: correct or remove it"
        ) from error
