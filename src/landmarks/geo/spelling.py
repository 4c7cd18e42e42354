"""Spelling variants of a name: with or without accents, "St." or "Saint", with or without "the"."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s\b")
_APOSTROPHE = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER TURNED COMMA}]")
_SHORT = {"st": "saint", "ste": "saint", "mt": "mount", "mtn": "mountain", "ft": "fort"}
_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "ł": "l",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)


def folded_words(name: str) -> list[str]:
    """Return the words of a name without case and accents, and with `St.` and `Mt.` written out."""
    plain = name.casefold()
    if not plain.isascii():
        letters = unicodedata.normalize("NFKD", plain.translate(_LETTERS))
        plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = _WORD.findall(_APOSTROPHE.sub("", _POSSESSIVE.sub("", plain)))
    return [_SHORT.get(word, word) for word in words]


def folded(name: str) -> str:
    """Return the form in which spelling variants are equal: the folded words without "the"."""
    return " ".join(word for word in folded_words(name) if word != "the")
