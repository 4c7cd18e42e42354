"""Metadata entries of a file: keywords, hierarchies and locations, and how they are compared."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Location:
    """A place shown in a photo, as in `Iptc4xmpExt:LocationShown`.

    Attributes:
        name: Name of the landmark, empty for a whole city or country.
        city: City or region, or empty.
        country: Country, or empty.
        country_code: ISO 3166-1 alpha-2 code, or empty.
        latitude: Latitude of the landmark, not of the camera, in degrees; None when unknown.
        longitude: Likewise; None if and only if `latitude` is.
        identifier: Wikidata URL, or empty.
    """

    name: str
    city: str = ""
    country: str = ""
    country_code: str = ""
    latitude: float | None = None
    longitude: float | None = None
    identifier: str = ""

    @property
    def key(self) -> str:
        """Key that is equal for two descriptions of the same place, even if a program has rounded the numbers."""
        return _folded("\t".join((self.name, self.city, self.country)))

    def agrees_with(self, other: Location) -> bool:
        """Return whether another description of the place has the same position, up to rounding, code and ID."""
        same = self._position == other._position or _same_position(self._position, other._position)
        return same and (self.country_code, self.identifier) == (other.country_code, other.identifier)

    @property
    def _position(self) -> tuple[float, float] | None:
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


@dataclass(frozen=True)
class Entries:
    """Entries that are, or will be, in the metadata of one file.

    Attributes:
        keywords: `dc:subject`.
        hierarchy: `lr:hierarchicalSubject`, levels separated by `|`.
        tag_paths: `digiKam:TagsList`, levels separated by `/`.
        locations: `Iptc4xmpExt:LocationShown`.
        sublocation: `Iptc4xmpCore:Location`, the landmark; like the next four it has at most one value, for
            programs that do not support `Iptc4xmpExt:LocationShown`.
        city: `photoshop:City`.
        region: `photoshop:State`.
        country: `photoshop:Country`.
        country_code: `Iptc4xmpCore:CountryCode`.
        iptc_keywords: IPTC keywords; never in a sidecar.
        position: GPS position that we wrote because there was none, in EXIF or, in a sidecar, `exif:GPSLatitude`.
        seeded: Of entries of ours: the user's keywords that we repeated in `tag_paths` (see `seed_tag_paths`).
    """

    keywords: tuple[str, ...] = ()
    hierarchy: tuple[str, ...] = ()
    tag_paths: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    sublocation: tuple[str, ...] = ()
    city: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    country_code: tuple[str, ...] = ()
    iptc_keywords: tuple[str, ...] = ()
    position: tuple[float, float] | None = None
    seeded: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.position is not None or any(getattr(self, name) for name in LISTS)

    def without(self, others: Entries) -> Entries:
        """Return the entries that are not in `others`, in their order here."""
        return self._filtered(others, keep=False)

    def common(self, others: Entries) -> Entries:
        """Return the entries that are also in `others`, in their order here."""
        return self._filtered(others, keep=True)

    def plus(self, others: Entries) -> Entries:
        """Return these entries, followed by those of `others` that are not here."""
        new = others.without(self)
        joined = {name: getattr(self, name) + getattr(new, name) for name in LISTS}
        return replace(self, **joined, position=self.position or others.position)

    def _filtered(self, others: Entries, *, keep: bool) -> Entries:
        kept: dict[str, Any] = {}
        for name in LISTS:
            here, there = getattr(self, name), {compare_key(entry) for entry in getattr(others, name)}
            kept[name] = tuple(e for e in here if (compare_key(e) in there) is keep) if there or keep else here
        position = self.position if _same_position(self.position, others.position) is keep else None
        return replace(self, **kept, position=position)

    def lines(self) -> Iterator[str]:
        """Yield one line of text per entry, for a diff."""
        for name, label in LISTS.items():
            for entry in getattr(self, name):
                yield f"{label}: {describe(entry)}"
        if self.position is not None:
            yield "GPS position of the landmark: {:.5f}, {:.5f}".format(*self.position)

    def to_json(self) -> str:
        """Return the entries as JSON, for `from_json`."""
        return json.dumps(
            {key: value for key, value in vars(self).items() if value}, ensure_ascii=False, default=vars
        )

    @classmethod
    def from_json(cls, text: str) -> Entries:
        """Parse the output of `to_json`."""
        values = json.loads(text)
        lists = {name: tuple(values.get(name, ())) for name in LISTS}
        lists["locations"] = tuple(Location(**location) for location in lists["locations"])
        position = values.get("position")
        position = None if position is None else (position[0], position[1])
        return cls(**lists, position=position, seeded=tuple(values.get("seeded", ())))


LISTS = {
    "keywords": "dc:subject",
    "hierarchy": "lr:hierarchicalSubject",
    "tag_paths": "digiKam:TagsList",
    "locations": "Iptc4xmpExt:LocationShown",
    "sublocation": "Iptc4xmpCore:Location",
    "city": "photoshop:City",
    "region": "photoshop:State",
    "country": "photoshop:Country",
    "country_code": "Iptc4xmpCore:CountryCode",
    "iptc_keywords": "IPTC:Keywords",
}
"""Lists in `Entries` and the names of their properties."""

SINGLES = ("sublocation", "city", "region", "country", "country_code")
"""Lists in `Entries` with at most one entry, which together name one place."""


def compare_key(entry: str | Location) -> str:
    """Return the form in which entries are compared.

    Photo programs ignore case and the two ways in which Unicode encodes an accent.
    """
    return entry.key if isinstance(entry, Location) else _folded(entry)


def _same_position(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    # Writing rounds; 0.001 degrees are 100 m.
    return (
        one is not None and other is not None and all(abs(a - b) < 0.001 for a, b in zip(one, other, strict=True))
    )


def _folded(text: str) -> str:
    if text.isascii():
        return text.casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def distinct(entries: Iterable[str]) -> tuple[str, ...]:
    """Return each entry once, in its first spelling."""
    first: dict[str, str] = {}
    for entry in entries:
        first.setdefault(compare_key(entry), entry)
    return tuple(first.values())


def describe(entry: str | Location) -> str:
    """Return one line of text that shows an entry."""
    if isinstance(entry, str):
        return entry
    text = ", ".join(filter(None, (entry.name, entry.city, entry.country)))
    if entry.latitude is None or entry.longitude is None:
        return text
    return f"{text} ({entry.latitude:.5f}, {entry.longitude:.5f})"


def join_path(path: Iterable[str], separator: str) -> str:
    """Join the levels of a hierarchy; a separator inside a name is replaced, as it would start a new level."""
    return separator.join(one_line(level).replace(separator, "-") for level in path)


def one_line(name: str) -> str:
    """Collapse white space in a name to single spaces: a keyword has no line breaks."""
    return " ".join(name.split())


def seed_tag_paths(keywords: Iterable[str], hierarchy: Iterable[str]) -> tuple[str, ...]:
    """Return a user's other keyword lists as digiKam paths.

    If there is a `digiKam:TagsList`, digiKam and Immich read nothing else. A file that gets its first such list
    must therefore include the user's own keywords in it, or they would disappear from these programs.
    """
    nested = [path.split("|") for path in hierarchy]
    known = {compare_key(level) for path in nested for level in path}
    flat = [[keyword] for keyword in keywords if compare_key(keyword) not in known]
    return distinct(join_path(path, "/") for path in [*nested, *flat])
