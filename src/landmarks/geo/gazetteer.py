"""The gazetteer: from a class name to a place with a name, a country and coordinates.

Two tables are bundled. `places.csv` beside this module has one row for every class of the project's data sets.
`world_places.csv` has two thousand more of the world's best-known landmarks, and `names.csv` has the names of the
best known in other languages; the first table wins.

Coordinates and Wikidata IDs are facts as recorded by Wikidata (https://www.wikidata.org, CC0); an ID is given only
if it was confirmed (see docs/places.md), else the column is empty. A large place, such as a national park, has one
point inside it. For classes that are not places, and landmarks on a border, columns that would be wrong are empty.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from landmarks.errors import PlacesError
from landmarks.geo.spelling import folded

COLUMNS = (
    "key",
    "aliases",
    "name",
    "city",
    "country",
    "country_code",
    "kind",
    "latitude",
    "longitude",
    "wikidata",
)
"""Columns of a complete table of places, in the order of the bundled one."""

_NEEDED_OF_USERS = ("key", "name")
MAX_TEXT = 400
"""Maximum characters of a name, a city, a country or a kind."""

EARTH_RADIUS_KM = 6371.0088  # mean radius of the IUGG, Geodetic Reference System 1980
_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015]+")
_NUMBER_PREFIX = re.compile(r"\A(?:\d+\.[ _]?)+(?=.)", re.DOTALL)  # never the whole name
_WIKIDATA_ID = re.compile(r"Q[1-9][0-9]{0,15}")
_COUNTRY_CODE = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True)
class Place:
    """One landmark, or the little that is known about a class that is not a place.

    Attributes:
        key: The class name as normalised by `normalise`.
        name: Display name.
        city: City or region, empty when unknown.
        country: Country in English, empty when unknown or when the place is in more than one.
        country_code: Its ISO 3166-1 alpha-2 code, or empty.
        kind: Kind of place in one word, such as bridge or temple, or empty.
        latitude: Decimal degrees north (WGS 84), or None when unknown.
        longitude: Decimal degrees east, None if and only if `latitude` is.
        wikidata: Wikidata ID, such as Q243, or None when unknown.
        region: State, province or region, if known; no table has it, but it is known of a camera's position.
    """

    key: str
    name: str
    city: str
    country: str
    country_code: str
    kind: str
    latitude: float | None
    longitude: float | None
    wikidata: str | None
    region: str = ""

    @property
    def coordinates(self) -> tuple[float, float] | None:
        """Latitude and longitude as `distance_km` takes them, or None when unknown."""
        if self.latitude is None or self.longitude is None:
            return None
        return self.latitude, self.longitude

    @property
    def is_thing(self) -> bool:
        """Whether it is not a place but a kind of thing, such as a dome: nothing but its kind is known."""
        return bool(self.kind) and not (self.city or self.country or self.coordinates)


class Gazetteer:
    """Places by class name; iterating yields each place once.

    Args:
        places: The places, each under its own key.
        names: Normalised class name -> key of its place; includes the keys themselves and the aliases.
        languages: Key of a place -> language -> its name.
        countries: Country code -> name in the language of the places, if that is not English.
    """

    def __init__(
        self,
        places: dict[str, Place],
        names: dict[str, str],
        languages: Mapping[str, Mapping[str, str]] | None = None,
        countries: Mapping[str, str] | None = None,
    ) -> None:
        self._places = places
        self._names = names
        self._languages = languages or {}
        self._countries = countries or {}

    @classmethod
    def bundled(cls) -> Gazetteer:
        """Return the bundled tables; they are read once."""
        return _bundled()

    def with_overrides(self, path: Path) -> Gazetteer:
        """Add a user's own places, which override the existing ones.

        A row whose key or alias is the key of an existing place replaces that place as a whole, with all its
        names; a row that matches only an alias takes over that name alone.

        Args:
            path: A CSV file in UTF-8 whose header has `key` and `name`, and any of the other `COLUMNS`.

        Returns:
            A new gazetteer; this one is unchanged.

        Raises:
            PlacesError: The file cannot be read or a row is wrong; the message names the line and the fix.
        """
        return self._over(_Table(str(path), _read_bytes(path), _NEEDED_OF_USERS).gazetteer())

    def _over(self, own: Gazetteer) -> Gazetteer:
        """Return this gazetteer with the places of another, which take precedence."""
        taken_over = {key: own._names[key] for key in self._places if key in own._names}
        names = {name: taken_over.get(key, key) for name, key in self._names.items()} | own._names
        kept = {key: place for key, place in self._places.items() if key not in taken_over}
        return Gazetteer(kept | own._places, names, self._languages, self._countries)

    def find(self, class_name: str) -> Place | None:
        """Return the place of a class, or None when there is none.

        Args:
            class_name: As named by a model or folder; a number prefix such as `00.`, case, and the choice
                between space, hyphen and underscore do not matter.
        """
        key = self._names.get(normalise(class_name)) or self._spellings.get(folded(class_name))
        return None if key is None else self._places[key]

    def key_of(self, class_name: str) -> str:
        """Return the form that all names of a landmark share, whether it has a place or not."""
        place = self.find(class_name)
        return normalise(class_name) if place is None else place.key

    def get(self, key: str) -> Place | None:
        """Return the place of exactly this key, or None."""
        return self._places.get(key)

    def names_of(self, place: Place) -> dict[str, str]:
        """Return the names of a place by language (ISO 639-1); empty if only its display name is known."""
        return dict(self._languages.get(place.key, {}))

    def country_name(self, code: str, english: str) -> str:
        """Return the name of a country in the language of the places.

        Args:
            code: ISO 3166-1 alpha-2 code.
            english: Its English name, which is kept where there is no other.
        """
        return self._countries.get(code, english)

    def translated(self, language: str, countries: Mapping[str, str]) -> Gazetteer:
        """Return this gazetteer with names in another language; keys stay, and English names still find a place.

        Args:
            language: ISO 639-1 code.
            countries: Country code -> name in this language.
        """
        languages = {
            key: {"en": place.name, **self._languages.get(key, {})} for key, place in self._places.items()
        }
        places = {
            key: replace(
                place,
                name=languages[key].get(language, place.name),
                country=countries.get(place.country_code, place.country),
            )
            for key, place in self._places.items()
        }
        return Gazetteer(places, self._names, languages, countries)

    def display_name(self, class_name: str) -> str:
        """Return the display name of a class: that of its place, else the class name tidied up."""
        place = self.find(class_name)
        if place is not None:
            return place.name
        return tidied(_NUMBER_PREFIX.sub("", tidied(class_name))) or class_name

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """Return folded names and their places; a name that fits several places in this form is left out."""
        found: dict[str, str] = {}
        for name, key in self._all_names():
            spelling = folded(name)
            found[spelling] = key if found.get(spelling, key) == key else ""
        return {spelling: key for spelling, key in found.items() if spelling and key}

    def _all_names(self) -> Iterator[tuple[str, str]]:
        yield from self._names.items()
        for place in self._places.values():
            yield place.name, place.key
            yield from ((name, place.key) for name in self._languages.get(place.key, {}).values())

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)


def normalise(class_name: str) -> str:
    """Return the form in which class names are compared: `06.Taj Mahal` -> `taj_mahal`.

    Accents are kept, but an accented letter as one code point equals the same letter as two.
    """
    return _NUMBER_PREFIX.sub("", normalise_given(class_name))


def normalise_given(name: str) -> str:
    """Return the form in which names given by people are compared; the number of `1. FC Stadium` is part of it."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
    return _SEPARATORS.sub("_", folded).strip("_")


def tidied(name: str) -> str:
    """Return a name as it is shown: with a capital, and spaces for underscores."""
    words = " ".join(name.replace("_", " ").split())
    return words[:1].upper() + words[1:]


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the great-circle distance between two points on the mean sphere of the Earth.

    The haversine formula keeps its precision for close points (R. W. Sinnott, "Virtues of the Haversine",
    Sky and Telescope 68 (2), 1984, p. 159). The Earth is not a sphere, so the error is up to 0.6 %.

    Args:
        a: Latitude and longitude in decimal degrees.
        b: The other point, likewise.
    """
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    half_chord = (
        math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    # Rounding can carry the square of a sine past one at opposite ends of the Earth.
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half_chord)))


class _Table:
    """A CSV file being parsed into a gazetteer; the current line is kept for error messages.

    Args:
        source: Name of the file in error messages.
        raw: Its content.
        needed: Required columns.
    """

    def __init__(self, source: str, raw: bytes, needed: Sequence[str]) -> None:
        self._source = source
        self._raw = raw
        self._needed = needed
        self._line = 1

    def gazetteer(self) -> Gazetteer:
        """Parse the table; raises `PlacesError` if a row is wrong."""
        places: dict[str, Place] = {}
        names: dict[str, str] = {}
        first_seen: dict[str, int] = {}
        for row in self._rows():
            place = self._place(row)
            aliases = [normalise(alias) for alias in row["aliases"].split("|")]
            for name in (place.key, *filter(None, aliases)):
                if name in names:
                    raise self._error(
                        f"the name {name!r} is already on line {first_seen[name]}: give each key and alias once"
                    )
                names[name] = place.key
                first_seen[name] = self._line
            places[place.key] = place
        return Gazetteer(places, names)

    def _rows(self) -> Iterator[dict[str, str]]:
        # newline="" leaves line breaks to the CSV reader, which handles those inside quoted values.
        reader = csv.reader(io.StringIO(self._text(), newline=""), strict=True)
        try:
            header = [column.strip().casefold() for column in next(reader, [])]
            for column in self._needed:
                if column not in header:
                    needed = ", ".join(self._needed)
                    raise self._error(
                        f"there is no column {column!r}: name the columns {needed}, separated by commas"
                    )
            for values in reader:
                self._line = reader.line_num
                if not any(value.strip() for value in values):
                    continue
                if len(values) > len(header):
                    raise self._error("more values than columns: put values that hold a comma in double quotes")
                cells = dict(zip(header, map(str.strip, values), strict=False))
                yield {column: cells.get(column, "") for column in COLUMNS}
        except csv.Error as error:
            self._line = reader.line_num
            raise self._error(f"not a CSV table ({error}): close every double quote") from error

    def _text(self) -> str:
        try:
            return self._raw.decode("utf-8-sig")  # spreadsheets write a byte-order mark
        except UnicodeDecodeError as error:
            self._line = self._raw.count(b"\n", 0, error.start) + 1
            raise self._error("not UTF-8 text: save the file as CSV in UTF-8") from error

    def _place(self, row: dict[str, str]) -> Place:
        key = normalise(row["key"])
        if not key:
            raise self._error("the key is empty: write the class name there")
        if not row["name"]:
            raise self._error("the name is empty: write the name to show there")
        for column in ("name", "city", "country", "kind"):
            if len(row[column]) > MAX_TEXT:
                raise self._error(f"{column} has more than {MAX_TEXT} characters: shorten it")
        latitude = self._degrees(row, "latitude", 90)
        longitude = self._degrees(row, "longitude", 180)
        if (latitude is None) != (longitude is None):
            raise self._error("latitude and longitude belong together: fill in both or neither")
        code = self._matching(row, "country_code", _COUNTRY_CODE.fullmatch, "two capital letters such as FR")
        wikidata = self._matching(row, "wikidata", _WIKIDATA_ID.fullmatch, "an id such as Q243")
        return Place(
            key=key,
            name=row["name"],
            city=row["city"],
            country=row["country"],
            country_code=code,
            kind=row["kind"],
            latitude=latitude,
            longitude=longitude,
            wikidata=wikidata or None,
        )

    def _degrees(self, row: dict[str, str], column: str, limit: int) -> float | None:
        if not row[column]:
            return None
        try:
            value = float(row[column])
        except ValueError:
            value = math.nan
        if not -limit <= value <= limit:  # false for not-a-number too
            raise self._error(
                f"{column} is {row[column]!r}: write decimal degrees from -{limit} to {limit}, such as 48.8583"
            )
        return value

    def _matching(self, row: dict[str, str], column: str, matches: Callable[[str], object], form: str) -> str:
        value = row[column]
        if value and not matches(value):
            raise self._error(f"{column} is {value!r}: write {form}, or leave it empty")
        return value

    def _error(self, reason: str) -> PlacesError:
        return PlacesError(f"{self._source}, line {self._line}: {reason}")


@cache
def _bundled() -> Gazetteer:
    folder = resources.files("landmarks.geo")

    def table(name: str) -> Gazetteer:
        return _Table(f"{name} of the package", folder.joinpath(name).read_bytes(), COLUMNS).gazetteer()

    known = table("world_places.csv")._over(table("places.csv"))
    languages: dict[str, dict[str, str]] = {}
    for row in csv.reader(folder.joinpath("names.csv").read_text(encoding="utf-8").splitlines()):
        key = known._names.get(row[0])
        if key is not None:
            languages.setdefault(key, {})[row[1]] = row[2]
    return Gazetteer(known._places, known._names, languages)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise PlacesError(f"{path}: {reason}: name a readable CSV file of places") from error
