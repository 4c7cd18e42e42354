"""Which folder of photos shows which landmark of a model, by name alone."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from landmarks.geo.gazetteer import Gazetteer, Place, normalise
from landmarks.model.ood import BACKGROUND

_SIMILAR = 0.85  # a name this close to one the model knows is likely a slip of the pen


class KnownLandmarks:
    """The landmarks of a model, found by any of their names.

    Two names are the same landmark when the gazetteer has them as one place or when they are equal but for a
    number prefix, case and separators.

    Args:
        gazetteer: Places and their other names.
        classes: What the model can answer; the background class may be among them.
    """

    def __init__(self, gazetteer: Gazetteer, classes: Iterable[str]) -> None:
        self._gazetteer = gazetteer
        self._names = {self.key(name): name for name in classes if normalise(name) != BACKGROUND}

    def key(self, name: str) -> str:
        """Return the one form that all names of a landmark share."""
        place = self._gazetteer.find(name)
        return place.key if place is not None else normalise(name)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __len__(self) -> int:
        return len(self._names)

    def place(self, name: str) -> Place | None:
        """Return the place of a landmark by any of its names, or None when the gazetteer has none."""
        return self._gazetteer.find(name)

    def display_name(self, name: str) -> str:
        """Return the name to show."""
        return self._gazetteer.display_name(name)

    def similar(self, name: str) -> str | None:
        """Return the class of the model whose name looks most like `name`, or None if none does."""
        found = get_close_matches(self.key(name), self._names, n=1, cutoff=_SIMILAR)
        return self._names[found[0]] if found else None
