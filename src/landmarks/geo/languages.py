"""Names in the user's language: of landmarks from the gazetteer, of countries from the Unicode CLDR (by Babel)."""

from __future__ import annotations

from functools import cache

from landmarks.errors import needing_extras
from landmarks.geo import Language
from landmarks.geo.gazetteer import Gazetteer


@cache
def english_countries() -> dict[str, str]:
    """Return the English names of countries by ISO 3166-1 alpha-2 code, as in the gazetteer."""
    from landmarks.geo.towns import countries  # noqa: PLC0415 - NumPy, without which `landmarks open` starts

    return countries() | {place.country_code: place.country for place in Gazetteer.bundled() if place.country_code}


@needing_extras()
def in_language(gazetteer: Gazetteer, language: Language) -> Gazetteer:
    """Return a gazetteer with the names of a language; where it has none, names stay English.

    Args:
        gazetteer: The English one.
        language: The language.

    Raises:
        MissingExtraError: Babel is not installed; English does not need it.
    """
    if language == "en":
        return gazetteer
    from babel import Locale  # noqa: PLC0415 - an extra, and slow to import

    territories = {code: name for code, name in Locale(language).territories.items() if len(code) == 2}
    return gazetteer.translated(language, territories)
