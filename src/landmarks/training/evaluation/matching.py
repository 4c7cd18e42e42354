"""Matches folders of photos to the landmarks of a model by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from landmarks.geo.gazetteer import Gazetteer, Place, normalise
from landmarks.model.ood import BACKGROUND

_SIMILAR = 0.85  # a name this similar to a known one is probably a typo


class KnownLandmarks:
    """The landmarks of a model, found by any of their names.

    Two names are the same landmark if the gazetteer has them as one place or if they are equal except for a number
    prefix, case and separators.

    Args:
        gazetteer: Places and their other names.
        classes: Classes of the model; may include the background class.
    """

    def __init__(self, gazetteer: Gazetteer, classes: Iterable[str]) -> None:
        self._gazetteer = gazetteer
        self._names = {self.key(name): name for name in classes if normalise(name) != BACKGROUND}
        self._forms = {key: _without_numbers(key) for key in self._names}

    def key(self, name: str) -> str:
        """Return the canonical form of all names of a landmark."""
        return self._gazetteer.key_of(name)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __len__(self) -> int:
        return len(self._names)

    def place(self, name: str) -> Place | None:
        """Return the place of a landmark by any of its names, or None when the gazetteer has none."""
        return self._gazetteer.find(name)

    def display_name(self, name: str) -> str:
        """Return the display name."""
        return self._gazetteer.display_name(name)

    def similar(self, name: str) -> str | None:
        """Return the class of the model with the most similar name, or None if none is similar.

        Names that differ in their numbers alone are no slips: `landmark 20000`, `landmark 900`.
        """
        key = self.key(name)
        form = _without_numbers(key)
        others = [known for known, known_form in self._forms.items() if known_form != form]
        found = get_close_matches(key, others, n=1, cutoff=_SIMILAR)
        return self._names[found[0]] if found else None


def _without_numbers(key: str) -> str:
    return re.sub(r"\d+", "0", key)
