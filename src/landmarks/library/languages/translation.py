"""The tags of a photo in another language, found by the Wikidata ID or the key of their places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from landmarks.geo import Language
from landmarks.geo.gazetteer import Gazetteer, Place, normalise
from landmarks.geo.languages import english_countries, in_language
from landmarks.tagging.tags import Tag

_LANGUAGE_PART = re.compile(r"-language=[a-z]{2}")
_LATER_PARTS = re.compile(r"(?=-places=|-learned=|-trips(?:=|\Z)|\Z)")


class Translation:
    """Names of landmarks and countries in one language.

    Args:
        language: The language.

    Raises:
        MissingExtraError: Babel is not installed; English does not need it.
    """

    def __init__(self, language: Language) -> None:
        self._bundled = Gazetteer.bundled()
        self._gazetteer = in_language(self._bundled, language)
        self._countries = english_countries()
        self._by_wikidata = {place.wikidata: place for place in self._bundled if place.wikidata is not None}

    def tags(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """Return tags with their names in the language; one whose place is not in the gazetteer stays as it is."""
        return tuple(map(self._tag, tags))

    def _tag(self, tag: Tag) -> Tag:
        place = tag.place
        if place is None or tag.level == "kind":
            return tag
        known = self._known(place)
        if known is not None:
            named = self._gazetteer.get(known.key) or known
            place = replace(place, name=named.name, country=named.country)
        elif _is_town(place) or place.region:  # as of the table of towns, and of taught landmarks
            place = replace(place, country=self._country(place))
        else:
            return tag  # from the user's own table, which keeps its names
        if tag.level == "country":
            return replace(tag, name=place.country, place=place)
        return replace(tag, name=place.name, place=place) if tag.level == "landmark" else replace(tag, place=place)

    def _known(self, place: Place) -> Place | None:
        """Return the bundled place that a recorded one is, whatever the language it was recorded in."""
        known = self._by_wikidata.get(place.wikidata or "") or self._bundled.get(place.key)
        if known is None or _is_town(place):
            return None
        names = {known.name, *self._bundled.names_of(known).values()}
        return known if place.name in names else None

    def _country(self, place: Place) -> str:
        english = self._countries.get(place.country_code, place.country)
        return self._gazetteer.country_name(place.country_code, english)


def _is_town(place: Place) -> bool:
    """Return whether a place is from the table of towns, or a country; see `landmarks.tagging.surroundings`."""
    return place.coordinates is None and not place.kind and place.key == normalise(place.name)


def identity_in_language(identity: str, language: Language) -> str:
    """Return the identity of a model, from `landmarks.tagging.tagger.identity_of`, in another language."""
    part = "" if language == "en" else f"-language={language}"
    models = _LANGUAGE_PART.sub("", identity).split("+")
    return "+".join(_LATER_PARTS.sub(part, model, count=1) for model in models)
