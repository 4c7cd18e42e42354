"""The landmark of the gazetteer that is nearest to a position and in sight of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from landmarks.geo.gazetteer import Place, distance_km

SIGHT_KM = {
    "mountain": 30.0,
    "glacier": 10.0,
    "lake": 10.0,
    "landscape": 10.0,
    "lighthouse": 5.0,
    "park": 5.0,
    "rock": 5.0,
    "town": 3.0,
    "waterfall": 3.0,
    "beach": 2.0,
    "bridge": 2.0,
    "building": 2.0,
    "castle": 2.0,
    "dam": 2.0,
    "fort": 2.0,
    "tower": 2.0,
    "fountain": 0.5,
    "gate": 0.5,
    "market": 0.5,
    "square": 0.5,
    "street": 0.5,
    "theatre": 0.5,
    "tree": 0.5,
    "artefact": 0.0,
}
"""Kilometres from which a landmark of a kind is usually photographed; an artefact is a thing that travels."""

USUAL_SIGHT_KM = 1.0
"""Likewise, of the other kinds, such as a church or a statue."""

_KM_PER_DEGREE = 111.0


@dataclass(frozen=True)
class Nearby:
    """A landmark in sight.

    Attributes:
        place: The landmark.
        distance: Kilometres to it.
    """

    place: Place
    distance: float


def sight_km(kind: str) -> float:
    """Return the distance in kilometres from which a landmark of a kind is usually photographed."""
    return SIGHT_KM.get(kind, USUAL_SIGHT_KM)


def nearest_landmark(position: tuple[float, float], places: Iterable[Place]) -> Nearby | None:
    """Return the nearest place that is within the distance of sight of its kind, or None.

    Args:
        position: Latitude and longitude in decimal degrees.
        places: Places to choose from, such as a gazetteer.
    """
    best: Nearby | None = None
    for place in places:
        where, sight = place.coordinates, sight_km(place.kind)
        # Most places are ruled out by their latitude, which costs a tenth of the distance.
        if where is None or abs(where[0] - position[0]) * _KM_PER_DEGREE > sight:
            continue
        distance = distance_km(position, where)
        if distance <= sight and (best is None or distance < best.distance):
            best = Nearby(place, distance)
    return best
