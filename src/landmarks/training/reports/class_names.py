"""Class names as a person reads them, and as a figure can draw them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager


def display_names(names: Sequence[str]) -> dict[str, str]:
    """Map class names to what a person reads: `07.Eiffel_Tower` to `Eiffel Tower`.

    A name stays as it is where two classes would look the same or nothing would be left.
    """
    plain = {name: re.sub(r"^\d+\.", "", name).replace("_", " ").strip() for name in names}
    counts = Counter(plain.values())
    return {name: text if text and counts[text] == 1 else name for name, text in plain.items()}


def class_labels(names: Sequence[str], places: Sequence[int] | None = None) -> list[str]:
    """Return the labels of classes in a figure, short and in letters that the font has.

    Args:
        names: Names of all classes.
        places: The classes to return, or None for all of them.
    """
    shown = display_names(names)
    chosen = range(len(names)) if places is None else places
    return [drawable(shown[names[place]], 28) or f"class {place}" for place in chosen]


def drawable(text: str, width: int) -> str:
    """Return `text` in the letters that the font has, at most `width` of them, with no mathematics in it.

    matplotlib warns and draws a box for each letter that its font lacks, such as most emoji; they are left
    out, because a box carries no information. A dollar sign would start a formula.
    """
    known = " ".join("".join(letter if _has_glyph(letter) else " " for letter in text).split())
    tail = width // 3  # long names often differ at the end only
    short = known if len(known) <= width else f"{known[: width - 1 - tail].rstrip()}…{known[-tail:].lstrip()}"
    return short.replace("$", r"\$")


@cache
def _has_glyph(letter: str) -> bool:
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return letter.isprintable() and font.get_char_index(ord(letter)) != 0
