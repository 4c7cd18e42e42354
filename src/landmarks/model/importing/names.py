"""Decides which names of a foreign label list belong to one place, to many, or to none.

Google's list has 60,177 names. Most belong to one place; "Rathaus" or "St. Nicholas Church" to very many, and
"Tourism" to none. A name made up only of kinds, saints and function words belongs to many places: it gets no
position and is reported as its kind. A name on the list of non-places is treated as background.

The list comes in six regional parts, so a place of the gazetteer is not confused with the same name elsewhere.
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
    """The meaning of a name.

    Attributes:
        what: `place`, `kind` for a name of very many places, or `nothing`.
        kind: The kind of place, or empty.
    """

    what: Literal["place", "kind", "nothing"]
    kind: str = ""


def meaning(name: str | None, *, regions: Iterable[str], known: bool = False) -> Meaning:
    """Decide the meaning of a name.

    Args:
        name: Name in the label list; None if it has none.
        regions: Regions of the world in which it occurs.
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
    """Return the kind in a name: of its last word, as in "Castle Bridge", else of the first words with a kind."""
    found = [_KIND_OF[word] for word in [words[-1], *_pairs(words), *words] if word in _KIND_OF]
    return found[0] if found else ""


def _pairs(words: list[str]) -> Iterable[str]:
    """Yield all groups of three and two consecutive words."""
    yield from ("_".join(words[start : start + 3]) for start in range(len(words) - 2))
    yield from ("_".join(words[start : start + 2]) for start in range(len(words) - 1))


REGIONS = ("africa", "asia", "europe", "north_america", "oceania", "south_america")

_CODES = {region: frozenset(codes.split()) for region, codes in _TABLE["countries"].items()}


def may_be_in(country_code: str, region: str) -> bool:
    """Return whether a country's landmarks may be in the list of a region; a country on the border is in two."""
    return country_code in _CODES[region]
