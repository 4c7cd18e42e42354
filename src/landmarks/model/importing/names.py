"""Which names of a foreign label list name one place, which many, and which none.

Google's list has 60,177 names. Most name one place; "Rathaus" or "St. Nicholas Church" name very many, and
"Tourism" none. A name that is made only of words for kinds, of saints and of little words names many places: it
gets no position and is reported as its kind. A name on the list of what is no place is treated as background.

The list comes in six regional parts, so that a name of the gazetteer can be told from the same name elsewhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from landmarks.geo.spelling import folded_words

_FILE = resources.files("landmarks.model.importing").joinpath("names.toml")
_TABLE = tomllib.loads(_FILE.read_text(encoding="utf-8"))
_NOT_A_PLACE = frozenset(name.replace("_", " ") for name in _TABLE["not_a_place"].split())
_SAINTS = frozenset(_TABLE["saints"].split())
_LITTLE = frozenset(_TABLE["little"].split())
_KIND_OF = {word: kind for kind, words in _TABLE["kinds"].items() for word in words.split()}

_NEIGHBOURS = frozenset(
    frozenset(pair.split())
    for pair in [
        "africa asia",
        "africa europe",
        "asia europe",
        "asia oceania",
        "north_america south_america",
        "north_america oceania",
    ]
)


@dataclass(frozen=True)
class Meaning:
    """What a name stands for.

    Attributes:
        what: `place`, `kind` where it names very many places, or `nothing`.
        kind: The kind of thing, or empty.
    """

    what: Literal["place", "kind", "nothing"]
    kind: str = ""


def meaning(name: str | None, *, regions: Iterable[str], known: bool = False) -> Meaning:
    """Decide what a name stands for.

    Args:
        name: As the label list has it; None where it has no name.
        regions: In which regions of the world it occurs.
        known: Whether a gazetteer has a place of this name in one of the regions.
    """
    words = folded_words(name or "")
    if not words or " ".join(words) in _NOT_A_PLACE:
        return Meaning("nothing")
    kind = _kind(words)
    saint = any(word in _SAINTS for word in words)
    generic = (kind or saint) and all(word in _SAINTS or word in _LITTLE or word in _KIND_OF for word in words)
    spread = len(set(regions))
    if generic and (not known or spread > 2 or len(words) == 1):
        return Meaning("kind", kind or "church")
    # The same words on three continents, or on two that do not touch, are not one place.
    if spread > 2 or (spread == 2 and frozenset(regions) not in _NEIGHBOURS):
        return Meaning("kind", kind)
    return Meaning("place", kind)


def _kind(words: list[str]) -> str:
    """The kind that a name speaks of: of its last word, as in "Castle Bridge", else of its first such words."""
    found = [_KIND_OF[word] for word in [words[-1], *_pairs(words), *words] if word in _KIND_OF]
    return found[0] if found else ""


def _pairs(words: list[str]) -> Iterable[str]:
    """Give the groups of three and of two words that stand together."""
    yield from ("_".join(words[start : start + 3]) for start in range(len(words) - 2))
    yield from ("_".join(words[start : start + 2]) for start in range(len(words) - 1))


REGIONS = ("africa", "asia", "europe", "north_america", "oceania", "south_america")

_CODES = {region: frozenset(codes.split()) for region, codes in _TABLE["countries"].items()}


def may_be_in(country_code: str, region: str) -> bool:
    """Tell whether a landmark of a country may be in the list of a region; a country at a border is in two."""
    return country_code in _CODES[region]
