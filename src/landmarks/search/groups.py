"""Groups built from pairs: union-find with path halving, in nearly linear time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Groups(Generic[Thing]):
    """Groups of things."""

    def __init__(self) -> None:
        self._parents: dict[Thing, Thing] = {}

    def join(self, left: Thing, right: Thing) -> None:
        """Merge the groups of two things."""
        self._parents[self._top(left)] = self._top(right)

    def all(self) -> list[list[Thing]]:
        """Return the groups."""
        found: dict[Thing, list[Thing]] = {}
        for thing in list(self._parents):
            found.setdefault(self._top(thing), []).append(thing)
        return list(found.values())

    def _top(self, thing: Thing) -> Thing:
        parents = self._parents
        parents.setdefault(thing, thing)
        while parents[thing] != thing:
            parents[thing] = parents[parents[thing]]
            thing = parents[thing]
        return thing
