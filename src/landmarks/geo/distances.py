"""Distances to many places at once; `distance_km` of the gazetteer takes two points, without numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landmarks.geo.gazetteer import EARTH_RADIUS_KM


def distances_km(place: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the great-circle distances from a place (2,) to others (N, 2), given in degrees.

    The haversine formula, as `landmarks.geo.gazetteer.distance_km`; NaN where a place is NaN.
    """
    here, there = np.radians(np.asarray(place)), np.radians(np.asarray(others)).reshape(-1, 2)
    half = np.sin((there - here) / 2) ** 2
    chord = half[:, 0] + np.cos(here[0]) * np.cos(there[:, 0]) * half[:, 1]
    kilometres: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, chord)))
    return kilometres
