"""Which collections a model learnt from, and what its weights may be used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landmarks.errors import SettingsError

NOT_STATED = "not stated"
"""Where nobody said what the licence is."""

NO_LICENCE = "none"
"""The licence of pictures that carry none: nobody gave leave to use them."""

EXPERIMENTS_ONLY = "experiments only: pictures it learnt from carry no licence"
"""What the weights of a model may be used for that learnt from pictures without a licence."""


@dataclass(frozen=True)
class Origin:
    """One collection that a model learnt from.

    Attributes:
        collection: Its name.
        pictures: Training pictures of it; 0 where they were not counted.
        licence: Of the pictures: a name such as `CC BY 4.0`, `none` where they carry none, or `not stated`.

    Raises:
        SettingsError: The name is empty or the count is negative.
    """

    collection: str
    pictures: int = 0
    licence: str = NOT_STATED

    def __post_init__(self) -> None:
        if not self.collection or not self.licence or self.pictures < 0:
            raise SettingsError(f"`origin` needs a name, a licence and a count, not {self}")

    @property
    def words(self) -> str:
        """The collection with its count and licence, for people."""
        count = f"{self.pictures} pictures, " if self.pictures else ""
        licence = {NOT_STATED: "licence not stated", NO_LICENCE: "no licence"}.get(self.licence, self.licence)
        return f"{self.collection} ({count}{licence})"


def origins_of(sources: Iterable[str], licences: Mapping[str, str], fallback: str) -> tuple[Origin, ...]:
    """Return the collections of a data set, largest first.

    Args:
        sources: Source of each training picture, empty where none is known.
        licences: What is known of collections, by name; those that no picture names are kept with a count of 0.
        fallback: Name of the collection of pictures without a source.
    """
    counted = Counter(source or fallback for source in sources)
    for name in licences:
        counted.setdefault(name, 0)
    found = [Origin(name, count, licences.get(name, NOT_STATED)) for name, count in counted.items()]
    return tuple(sorted(found, key=lambda one: (-one.pictures, one.collection)))


def parse_licences(texts: Sequence[str]) -> dict[str, str]:
    """Read `COLLECTION=LICENCE` texts; a collection alone has the licence `not stated`.

    Raises:
        SettingsError: A text has no name before the equals sign, or a name comes twice.
    """
    licences: dict[str, str] = {}
    for text in texts:
        name, _, licence = (part.strip() for part in text.partition("="))
        if not name:
            raise SettingsError(f"`origin` must be COLLECTION=LICENCE, not {text!r}")
        if name in licences:
            raise SettingsError(f"`origin` names {name!r} twice: give each collection once")
        licences[name] = licence or NOT_STATED
    return licences


def licence_of(stated: str | None, origin: Iterable[Origin]) -> str:
    """Return what the weights may be used for: as stated, else what the pictures allow."""
    if stated:
        return stated
    return EXPERIMENTS_ONLY if any(one.licence == NO_LICENCE for one in origin) else NOT_STATED


def origin_from_list(values: Any) -> tuple[Origin, ...]:
    """Read the collections of `model.json`; raises `ValueError` or `TypeError` where they are damaged."""
    if not isinstance(values, list):
        raise ValueError("the origin is not a list of collections")
    try:
        return tuple(Origin(**one) for one in values)
    except SettingsError as error:
        raise ValueError(str(error)) from error
