"""Names in the user's language: of landmarks from the gazetteer, of countries from the Unicode CLDR (by Babel)."""

from __future__ import annotations

from landmarks.geo import Language
from landmarks.geo.gazetteer import Gazetteer


def in_language(gazetteer: Gazetteer, language: Language) -> Gazetteer:
    """Return a gazetteer with the names of a language; where it has none, names stay English.

    Args:
        gazetteer: The English one.
        language: The language.

    Raises:
        ModuleNotFoundError: Babel is not installed; English does not need it.
    """
    if language == "en":
        return gazetteer
    from babel import Locale  # noqa: PLC0415 - an extra, and slow to import

    countries = {code: name for code, name in Locale(language).territories.items() if len(code) == 2}
    return gazetteer.translated(language, countries)
