"""Imports Google Landmarks v2 as a table of paths and labels; no picture is copied.

The data set (Weyand et al. 2020, https://arxiv.org/abs/2004.01804) names its pictures by 16 hexadecimal digits and
stores `0123...` as `0/1/2/0123....jpg`. `train_clean.csv` has one row per landmark, with all of its pictures;
`train.csv` one row per picture; `train_label_to_category.csv` the names of the landmarks.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from landmarks.errors import DataError, SettingsError
from landmarks.files.csv_lines import write_csv

_ID = re.compile(r"[0-9a-f]{16}")
_FORMS = (("landmark_id", "images"), ("id", "landmark_id"))


@dataclass(frozen=True)
class Imported:
    """What an import wrote and left out.

    Attributes:
        table: The table.
        classes: Number of landmarks.
        pictures: Number of pictures.
        missing: Pictures of the list that are not in the folder.
        malformed: Entries of the list that are not the name of a picture.
        ambiguous: Pictures listed under several landmarks.
        small: Landmarks with too few pictures.
        beyond: Further landmarks beyond the limit.
    """

    table: Path
    classes: int
    pictures: int
    missing: int
    malformed: int
    ambiguous: int
    small: int
    beyond: int


def import_gldv2(
    listing: Path,
    images: Path,
    out: Path,
    *,
    names: Path | None = None,
    min_images: int = 3,
    limit_classes: int | None = None,
) -> Imported:
    """Write a table of the pictures of Google Landmarks v2 that are there, atomically.

    Args:
        listing: `train_clean.csv` or `train.csv`.
        images: The folder with the folders `0` to `f`.
        out: The table to write; paths in it are relative to it where the pictures are below its folder.
        names: `train_label_to_category.csv`, or None to name landmarks by their numbers.
        min_images: Landmarks with fewer pictures in the folder are left out, at least 1.
        limit_classes: At most so many landmarks, those with the most pictures; None for all.

    Raises:
        DataError: A file is missing or of another form, or no landmark is left.
        SettingsError: A value is out of range, or `out` is not the name of a table.
        StorageError: The table cannot be written.
    """
    if min_images < 1 or (limit_classes is not None and limit_classes < 2):
        raise SettingsError("`min_images` must be at least 1 and `limit_classes` at least 2")
    if out.suffix.lower() != ".csv":
        raise SettingsError(f"`out` {out} is not the name of a table: let it end in .csv")
    if any(out.resolve() == given.resolve() for given in (listing, names) if given is not None):
        raise SettingsError(f"`out` {out} is a file of the collection: choose another name for the table")
    if not images.is_dir():
        raise DataError(f"{images}: no such folder: give the folder with the folders 0 to f of the pictures")
    listed, malformed, ambiguous = _read_listing(listing)
    named = {} if names is None else _read_names(names)
    found = {landmark: _present(ids, images) for landmark, ids in listed.items()}
    missing = sum(map(len, listed.values())) - sum(map(len, found.values()))
    enough = [landmark for landmark, paths in found.items() if len(paths) >= min_images]
    if not enough:
        raise DataError(
            f"{images}: no landmark has {min_images} of the pictures that {listing.name} lists: check the folder, "
            "or lower `min_images`"
        )
    enough.sort(key=lambda landmark: (-len(found[landmark]), landmark))
    kept = sorted(enough[:limit_classes])
    labels = _labels(kept, named)
    folder = out.parent.resolve()
    base = images.resolve()
    shown = Path(os.path.relpath(base, folder)) if base.is_relative_to(folder) else base
    rows = (((shown / path).as_posix(), labels[landmark]) for landmark in kept for path in found[landmark])
    write_csv(out, ("path", "label"), rows)
    pictures = sum(len(found[landmark]) for landmark in kept)
    small, beyond = len(found) - len(enough), len(enough) - len(kept)
    return Imported(out, len(kept), pictures, missing, malformed, ambiguous, small, beyond)


def _read_listing(path: Path) -> tuple[dict[int, list[str]], int, int]:
    """Return the pictures that each landmark has alone, and the numbers of malformed and of ambiguous entries."""
    landmark_of: dict[str, int] = {}
    found: dict[int, list[str]] = {}
    several: set[str] = set()
    malformed = 0
    lines = _lines(path)
    header = next(lines, [])
    form = next((form for form in _FORMS if set(form) <= set(header)), None)
    if form is None:
        raise DataError(f"{path}: neither train_clean.csv nor train.csv of Google Landmarks v2: check `listing`")
    places = [header.index(column) for column in form]
    for cells in lines:
        first, second = (cells[place] if place < len(cells) else "" for place in places)
        landmark, ids = (first, second.split()) if form is _FORMS[0] else (second, [first])
        good = [one for one in ids if _ID.fullmatch(one)] if landmark.isdecimal() else []
        malformed += len(ids) - len(good)
        if good:
            number = int(landmark)
            found.setdefault(number, [])
            several.update(one for one in good if landmark_of.setdefault(one, number) != number)
    for one, number in landmark_of.items():
        if one not in several:
            found[number].append(one)
    return found, malformed, len(several)


def _lines(path: Path) -> Iterator[Sequence[str]]:
    # A landmark of train_clean.csv may have more pictures than the csv module allows in a field.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of Google Landmarks v2: check its path") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV table ({error}): fetch it again") from error
    finally:
        csv.field_size_limit(limit)


def _read_names(path: Path) -> dict[int, str]:
    """Return the name of each landmark: the last part of the address of its category, without its encoding.

    A slash in it becomes a hyphen: the name may become that of a folder.
    """
    lines = _lines(path)
    header = next(lines, [])
    if "landmark_id" not in header or "category" not in header:
        raise DataError(f"{path}: not train_label_to_category.csv of Google Landmarks v2: check `names`")
    number, category = header.index("landmark_id"), header.index("category")
    found = {}
    for cells in lines:
        if len(cells) > max(number, category) and cells[number].isdecimal():
            name = unquote(cells[category].rpartition("Category:")[2])
            found[int(cells[number])] = name.replace("_", " ").replace("/", "-").strip()
    return found


def _labels(landmarks: Sequence[int], names: Mapping[int, str]) -> dict[int, str]:
    """Return the label of each landmark; the number is added to names that several have, or that none has."""
    counts = Counter(names.get(landmark, "") for landmark in landmarks)
    labels = {}
    for landmark in landmarks:
        name = names.get(landmark, "")
        labels[landmark] = (
            name if counts[name] == 1 and name else f"{name} ({landmark})" if name else str(landmark)
        )
    return labels


def _present(ids: Iterable[str], images: Path) -> list[Path]:
    """Return the paths, relative to the folder, of the pictures that are there."""
    paths = (Path(one[0], one[1], one[2], f"{one}.jpg") for one in ids)
    return [path for path in paths if (images / path).is_file()]
