"""Where landmarks are: the gazetteer."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "ar", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "zh"]
"""ISO 639-1 code of a language for which the gazetteer has names."""
