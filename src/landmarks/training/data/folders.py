"""Reads an image folder or a table of pictures into samples, class names and a stratified split.

Two layouts of folders are supported: `ROOT/train/CLASS/picture` with `ROOT/test/CLASS/picture` and, if there,
`ROOT/val/CLASS/picture` (torchvision's `ImageFolder`, several times), or one folder `ROOT/CLASS/picture`, of which
a seeded, stratified part becomes the test split. Pictures may be in subfolders of their class. For tables see
`landmarks.training.data.tables` and `landmarks.training.data.parquet`.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from landmarks.errors import DataError
from landmarks.imaging.photos import Split, photo_rules
from landmarks.training.data.listing import (
    MANIFEST,
    ClassPictures,
    Sources,
    find_splits,
    is_shard_set,
    list_classes,
    read_sources,
    same_names,
    source_of,
)
from landmarks.training.data.parquet import is_parquet, list_parquet
from landmarks.training.data.tables import is_table_file, list_table
from landmarks.training.runs.pictures import picture_name, shown_name


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
    """A data set.

    Attributes:
        root: Its folder or table.
        classes: Class names, in folder order.
        train: The training images.
        valid: The images that choose the weights.
        test: The images that measure the result.
        notes: What the reader should know: how folders were understood, and what was left out.
        skipped: Each file and folder that was skipped, with the reason.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    test: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images of each class in each split."""
        table: dict[str, dict[str, int]] = {name: {} for name in self.classes}
        for split, samples in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            counted = Counter(sample.label for sample in samples)
            for label, name in enumerate(self.classes):
                table[name][split] = counted[label]
        return table

    def fingerprint(self) -> str:
        """Return a hash of which images (name in the data set and size) are in which split with which class."""
        digest = hashlib.sha256()
        for split, samples in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            for sample in samples:
                name = picture_name(sample.path, self.root)
                line = f"{split}\0{name}\0{sample.label}\0{sample.path.stat().st_size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def name_of(self, picture: Path) -> str:
        """Return the path of an image in the data set, for messages."""
        return shown_name(picture, self.root)

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
        kept.require_readable()
        return kept

    def require_readable(self) -> None:
        """Refuse the images that can be read; raises `DataError` if a class or a split has none."""
        missing = set(range(len(self.classes))) - {sample.label for sample in self.train}
        if missing:
            name = self.classes[min(missing)]
            raise DataError(f"{self.root}: class {name!r} has no readable training image: repair or remove it")
        for split, samples in (("validation", self.valid), ("test", self.test)):
            if not samples:
                raise DataError(f"{self.root}: no {split} image can be read: repair them or add others")


@dataclass(frozen=True)
class Listing:
    """All images of a data set, before checking whether it can be trained on.

    Attributes:
        root: The data set.
        classes: Names of the class folders of all splits, sorted; a class may have no images.
        splits: The images of `train`, `valid` and `test`, or of "" if the class folders are in `root` itself.
        notes: What was left out.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    notes: tuple[str, ...] = ()


def is_table(root: Path) -> bool:
    """Return whether the pictures of a data set are listed in a table, not in folders."""
    return is_table_file(root) or is_parquet(root)


def list_splits(root: Path, cache: Path | None = None) -> dict[Split, ClassPictures]:
    """List the pictures of a data set, by split; all as `train` if it has no splits.

    Args:
        root: An image folder, a table of paths and labels (CSV, JSON Lines), or Parquet files.
        cache: Folder in which the pictures of Parquet files are unpacked, or None for the user's cache folder.

    Raises:
        DataError: It is missing, unreadable or damaged, or a folder of shards, which has a sample of its training
            pictures alone.
    """
    found = _listed(root, cache)
    split, first = next(iter(found.items()))
    names = sorted({name for listed in found.values() for name in listed.pictures})
    return {**found, split: replace(first, notes=(*first.notes, *same_names(root, names)))}


def _listed(root: Path, cache: Path | None) -> dict[Split, ClassPictures]:
    if is_table_file(root):
        return list_table(root)
    if is_parquet(root):
        return list_parquet(root, cache)
    if is_shard_set(root):
        raise DataError(
            f"{root}: made by landmarks pack for landmarks train: give the folder that it was packed from"
        )
    if cache is not None:
        require_outside(root, cache, "cache")
    found = {split: list_classes(root / name) for split, name in find_splits(root).items()}
    sources = read_sources(root)
    if not found:
        return {"train": with_sources(list_classes(root), sources)}
    return {split: with_sources(listed, sources, split) for split, listed in found.items()}


def require_outside(root: Path, out: Path, argument: str) -> None:
    """Refuse to make a folder that would be read as a class of the data set, or as a part of one.

    Args:
        root: The data set.
        out: The folder to make.
        argument: Its name, for the message.

    Raises:
        DataError: It is below a folder of class folders; or that cannot be read.
    """
    if not os.path.isdir(root) or is_table(root):  # noqa: PTH112 - False if forbidden
        return
    for name in find_splits(root).values() or ("",):
        place, made = (root / name).resolve(), out.resolve()
        if place in made.parents and photo_rules().skips(made.relative_to(place).parts[0], is_folder=True) is None:
            raise DataError(
                f"{out}: it would be read as pictures of {place}: choose another `{argument}`, outside of it"
            )


def with_sources(listed: ClassPictures, sources: Sources, split: Split | None = None) -> ClassPictures:
    """Return listed pictures with their sources; `split` is theirs, None if the data set has none."""
    if not sources:
        return listed
    by_path = {
        path: source_of(sources, path.relative_to(listed.folder).as_posix(), split)
        for paths in listed.pictures.values()
        for path in paths
    }
    unknown = sum(not source for source in by_path.values())
    note = f"{listed.folder}: {unknown} of {len(by_path)} pictures have no source in {MANIFEST}"
    return replace(listed, sources=by_path, notes=(*listed.notes, note) if unknown else listed.notes)


def list_pictures(root: Path, cache: Path | None = None) -> Listing:
    """List the images of an image folder or table without splitting or checking it.

    Args:
        root: See `list_splits`.
        cache: Likewise.

    Raises:
        DataError: The folder is missing, unreadable, or holds fewer than two readable classes, no image at all,
            or a class whose name is not UTF-8.
    """
    found = list_splits(root, cache)
    classes = tuple(sorted({name for listed in found.values() for name in listed.pictures}))
    require_classes(next(iter(found.values())), classes)
    splits = {str(split): tuple(samples_of(listed, classes)) for split, listed in found.items()}
    if not any(splits.values()):
        raise DataError(f"{root}: there is no picture in its class folders: add some")
    if set(splits) == {"train"} and found["train"].folder == root:
        splits = {"": splits["train"]}
    return Listing(root, classes, splits, tuple(note for listed in found.values() for note in listed.notes))


def read_data_folder(
    root: Path, *, valid_size: float, seed: int, limit: int | None = None, cache: Path | None = None
) -> DataFolder:
    """Read an image folder or table and split it.

    Args:
        root: Folder with `train/`, `test/` and perhaps `val/`, or with one folder per class; or a table.
        valid_size: Fraction of the training images of each class that becomes validation, in (0, 1), unless there
            is a `val/`.
        seed: Seed of the split; the same seed gives the same split.
        limit: At most this many training images, drawn evenly over the classes (one of each at the least, with a
            note), or None for all.
        cache: Folder in which the pictures of Parquet files are unpacked, or None for the user's cache folder.

    Returns:
        The data set; every class has at least one training image and, without a `val/`, one validation image. A
        class may be missing from `test/` and `val/`. A class folder that cannot be read is left out, with a note.

    Raises:
        DataError: The folder is missing, unreadable or empty, has one readable class, a split without its
            partner, a class without images, with too few to split or with a name that is not UTF-8.
    """
    found = list_splits(root, cache)
    _require_partners(root, found)
    first = found["train"]
    classes = list(first.pictures)
    require_classes(first, classes)
    notes, skipped, given = list(first.notes), list(first.skipped), {}
    for split in ("valid", "test"):
        if split in found:
            listed = found[split]
            notes += listed.notes
            skipped += listed.skipped
            for name in sorted(set(first.unreadable) & set(listed.pictures)):
                notes.append(f"{listed.where(name)}: left out, as {first.where(name)} cannot be read")
            given[split] = _split_samples(listed, first)
    train = samples_of(first, classes)
    # A split that is missing is drawn from the training images.
    _require_pictures(first, at_least=3 - len(given))
    if "test" not in given:
        missing = "there is no test/" if first.split is None else "no row is of the split test"
        notes += [f"{root}: {missing}: a fifth of {first.called} is the test split"] if given else []
        given["test"], train = split_stratified(train, 0.2, seed + 1, classes)
    if "valid" not in given:
        given["valid"], train = split_stratified(train, valid_size, seed, classes)
    else:
        own = found["valid"]
        where = str(own.folder) if own.split is None else f"{root}, {own.called}"
        notes.append(f"{where}: used for validation")
    valid, test = tuple(given["valid"]), tuple(given["test"])
    if limit is not None and limit < len(classes):
        notes.append(
            f"{root}: limit {limit} is below the number of classes, so one training image of each is used"
        )
    train = limit_evenly(train, limit, seed)
    return DataFolder(root, tuple(classes), tuple(train), valid, test, tuple(notes), tuple(skipped))


def _require_partners(root: Path, found: dict[Split, ClassPictures]) -> None:
    """Refuse test pictures without training pictures, and a training folder without others to measure on."""
    if "train" not in found:
        given = found["test" if "test" in found else "valid"]
        if given.split is not None:
            raise DataError(f"{root}: no row is of the split train: add some, or leave out the splits")
        name = given.called
        raise DataError(f"{root}: there is {name} but no train/: add train/ or give {name} itself to be split")
    if set(found) == {"train"} and found["train"].folder != root:
        name = found["train"].called
        raise DataError(f"{root}: there is {name} but no test/: add test/ or give {name} itself to be split")


def samples_of(listed: ClassPictures, classes: Sequence[str]) -> list[Sample]:
    """Return the images of a split in the order of the classes, with their labels; other classes are left out."""
    return [
        Sample(path, label, listed.sources.get(path, ""))
        for label, name in enumerate(classes)
        for path in listed.pictures.get(name, ())
    ]


def split_stratified(
    samples: Sequence[Sample], share: float, seed: int, classes: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    """Split samples into (`share`, the rest), class by class, at least one of each class on both sides.

    The split of a class depends on its name, its own images and the seed alone, so adding a class moves no image
    of another. Takes linear time.
    """
    positions: dict[int, list[int]] = {}
    for position, sample in enumerate(samples):
        positions.setdefault(sample.label, []).append(position)
    drawn: set[int] = set()
    for label, members in positions.items():
        random.Random(f"{seed}-{classes[label]}").shuffle(members)  # noqa: S311 - no secret
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


def require_classes(listed: ClassPictures, names: Sequence[str], *, at_least: int = 2) -> None:
    """Raise a `DataError` unless there are enough classes; `listed` is where they were looked for."""
    if len(names) >= at_least:
        return
    folder = listed.folder
    if listed.unreadable:
        closed = ", ".join(str(folder / name) for name in listed.unreadable)
        raise DataError(
            f"{folder}: {len(names)} of its class folders can be read, and "
            f"{'training needs two' if at_least == 2 else 'one is needed'}: change the permissions of {closed}"
        )
    if not names:
        raise DataError(f"{folder}: there is no folder of pictures in it: make one folder per class")
    raise DataError(f"{folder}: there is one class, {names[0]!r}, and nothing to tell it from: add another")


def _split_samples(listed: ClassPictures, train: ClassPictures) -> list[Sample]:
    """Return the samples of a given validation or test split, whose classes must be in the training split."""
    require_classes(listed, list(listed.pictures), at_least=1)
    extra = sorted({*listed.pictures} - {*train.pictures, *train.unreadable})
    if extra:
        raise DataError(f"{listed.folder}: class {extra[0]!r} is not in {train.called}: add it there or remove it")
    known = {name: paths for name, paths in listed.pictures.items() if name in train.pictures}
    _require_pictures(replace(listed, pictures=known), at_least=1)
    return samples_of(listed, list(train.pictures))


def _require_pictures(listed: ClassPictures, *, at_least: int) -> None:
    for name, paths in listed.pictures.items():
        if not paths:
            raise DataError(f"{listed.where(name)}: no pictures in it: add some or remove the class")
        if len(paths) < at_least:
            raise DataError(
                f"{listed.where(name)}: a class needs at least {at_least} pictures to be split, not {len(paths)}: "
                "add pictures or remove the class"
            )
