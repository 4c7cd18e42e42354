"""How long it takes from one place to another, and how much time has passed between two photos."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

CAR_KM_PER_HOUR = 130.0
"""Speed on the ground: a car's on a motorway."""

PLANE_KM_PER_HOUR = 800.0
"""Speed of an airliner between two airports."""

AIRPORT_HOURS = 2.0
"""What a flight takes apart from flying: to the airport, and from it."""

LONGEST_HOURS = 30.0
"""Photos farther apart in time may have been taken anywhere."""

SIGHT_KM = 50.0
"""Distance from a camera to a landmark that proves nothing: parks, mountains and cities are that large."""

_DEGREES_PER_HOUR = 15.0  # the sun's
_ZONE_HOURS = 1.5  # how far a time zone may be from the sun
_FULL_ZONE_DEGREES = 5.0  # and from which difference of longitude on


def hours_of(times: Iterable[datetime | None], *, zoned: bool | None = None) -> tuple[NDArray[np.float64], bool]:
    """Return moments as hours on one scale, NaN for None, and whether they are universal time.

    If all of them have a time zone, it is universal time, else what the clocks showed, unless `zoned` says which.
    """
    listed = list(times)
    if zoned is None:
        zoned = all(time.tzinfo is not None for time in listed if time is not None)
    start = datetime(2000, 1, 1, tzinfo=UTC)

    def hours(time: datetime | None) -> float:
        if time is None:
            return float("nan")
        moment = time if zoned else time.replace(tzinfo=UTC)
        return (moment - start).total_seconds() / 3600

    return np.array([hours(time) for time in listed], dtype=np.float64), zoned


def travel_hours(kilometres: ArrayLike) -> NDArray[np.float64]:
    """Return the shortest time from place to place: by car, or by plane with the way to and from the airports."""
    distance = np.asarray(kilometres, dtype=np.float64)
    return np.minimum(distance / CAR_KM_PER_HOUR, AIRPORT_HOURS + distance / PLANE_KM_PER_HOUR)


def passed_hours(
    hours: float, longitude: float, others: ArrayLike, longitudes: ArrayLike, *, zoned: bool
) -> NDArray[np.float64]:
    """Return the longest time that can have passed between a photo and others (N,), in hours.

    A clock without a time zone may show home time or follow the sun, as a phone's does: the longer time counts.

    Args:
        hours: Time of the photo, from `hours_of`.
        longitude: Longitude of its place in degrees.
        others: (N,), times of the others.
        longitudes: (N,), longitudes of their places.
        zoned: Whether the times are universal.
    """
    difference = hours - np.asarray(others, dtype=np.float64)
    if zoned:
        return np.abs(difference)
    east = (longitude - np.asarray(longitudes, dtype=np.float64) + 180) % 360 - 180
    slack = _ZONE_HOURS * np.minimum(1.0, np.abs(east) / _FULL_ZONE_DEGREES)
    return np.maximum(np.abs(difference), np.abs(difference - east / _DEGREES_PER_HOUR) + slack)
