"""Which cameras have a wrong clock, found from places where a camera with GPS was too.

A phone records where it was, minute by minute. A camera beside it that shows three landmarks two hours before the
phone was at each of them has a clock that is two hours behind. Nothing is corrected on weaker evidence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from landmarks.geo.distances import distances_km
from landmarks.tagging.trips.travel import hours_of

LEAST_PLACES = 3
"""How many places must show the same error of a clock."""

SAME_PLACE_KM = 3.0
"""How far from a landmark the camera with GPS may be to be there; places this close are one."""

_AGREEING = 0.8  # share of the visits that must show it
_RIVAL = 0.5  # share of those that another error, or none, may explain as well
_VISIT_GAP_HOURS = 1.0  # photos of a place farther apart are two visits
_VISIT_EDGE_HOURS = 0.25  # a visit may begin before its first photo and end after its last
_WIDEST_HOURS = 1.5  # an error must be known this well
_STEADY_HOURS = 5 / 60  # how much a clock may wander against satellite time


@dataclass(frozen=True)
class Fix:
    """A photo with a place.

    Attributes:
        camera: Name of the camera.
        taken: When, by the camera's clock.
        place: Latitude and longitude in degrees: of the camera, or of the sure landmark in the photo.
        positioned: Whether it is the camera's position.
        satellite_time: Universal time of the GPS receiver, or None.
    """

    camera: str
    taken: datetime
    place: tuple[float, float]
    positioned: bool
    satellite_time: datetime | None = None


@dataclass(frozen=True)
class ClockError:
    """The error of a camera's clock against that of the camera with GPS.

    Attributes:
        camera: Name of the camera.
        behind: How far its clock is behind; below 0 if it is ahead.
        reference: Name of the camera with GPS.
        places: Number of places that show it; 0 if both cameras recorded satellite time.
    """

    camera: str
    behind: timedelta
    reference: str
    places: int

    def __str__(self) -> str:
        minutes = round(abs(self.behind).total_seconds() / 60)
        span = f"{minutes} min" if minutes % 60 and minutes < 120 else f"{minutes / 60:.3g} h"
        direction = "behind" if self.behind > timedelta() else "ahead of"
        proof = f"as {self.places} places show" if self.places else "by satellite time"
        return f"the clock of {self.camera} is {span} {direction} that of {self.reference}, {proof}: corrected"


def find_clock_errors(fixes: Iterable[Fix]) -> dict[str, ClockError]:
    """Return the cameras whose clock is wrong beyond doubt.

    The clock that counts is that of the camera with the most positions.

    Args:
        fixes: Photos with a place, in any order; those without a camera do not count.
    """
    listed = [fix for fix in fixes if fix.camera]
    positions = Counter(fix.camera for fix in listed if fix.positioned)
    if not positions:
        return {}
    reference = min(positions, key=lambda camera: (-positions[camera], camera))
    hours, _ = hours_of(fix.taken for fix in listed)
    of_camera: dict[str, list[int]] = defaultdict(list)
    for index, fix in enumerate(listed):
        if fix.positioned or fix.camera != reference:
            of_camera[fix.camera].append(index)
    track = sorted(of_camera.pop(reference), key=lambda index: hours[index])
    where = np.array([listed[index].place for index in track])
    found: dict[str, ClockError] = {}
    for camera, own in of_camera.items():
        behind = _by_satellites(listed, hours, (track, own))
        places = 0
        if behind is None:
            fixed = [(float(hours[index]), listed[index].place) for index in own]
            behind, places = _by_visits(fixed, hours[track], where)
        if behind is not None and round(behind * 60):
            found[camera] = ClockError(camera, timedelta(minutes=round(behind * 60)), reference, places)
    return found


def _by_satellites(
    fixes: Sequence[Fix], hours: NDArray[np.float64], cameras: tuple[Sequence[int], Sequence[int]]
) -> float | None:
    """Return how many hours the second camera is behind the first by the satellite times of both, or None."""
    ahead = []
    for own in cameras:
        timed = [(hours[index], fixes[index].satellite_time) for index in own if fixes[index].satellite_time]
        if len(timed) < LEAST_PLACES:
            return None
        universal, _ = hours_of(time for _, time in timed)
        differences = np.array([clock for clock, _ in timed]) - universal
        if np.ptp(differences) > _STEADY_HOURS:
            return None  # a clock that followed time zones
        ahead.append(float(np.median(differences)))
    difference = ahead[0] - ahead[1]
    return difference if abs(difference) > _STEADY_HOURS else 0.0


def _by_visits(
    fixes: Sequence[tuple[float, tuple[float, float]]],
    track: NDArray[np.float64],
    where: NDArray[np.float64],
) -> tuple[float | None, int]:
    """Return how many hours a clock is behind that of a track, and how many places show it; None if unclear.

    Args:
        fixes: Hours by the clock, and place, of each photo.
        track: (N,), hours of the positions, in order.
        where: (N, 2), the positions in degrees.
    """
    spans = []  # of each visit: the place, and from which to which error it fits a visit of the track
    for begun, ended, place in _visits(fixes):
        near = np.sort(track[distances_km(place, where) <= SAME_PLACE_KM])
        if len(near):
            cuts = np.flatnonzero(np.diff(near) > _VISIT_GAP_HOURS) + 1
            stays = [(stay[0] - _VISIT_EDGE_HOURS, stay[-1] + _VISIT_EDGE_HOURS) for stay in np.split(near, cuts)]
            spans.append((place, _joined([(first - ended, last - begun) for first, last in stays])))
    if len(spans) < LEAST_PLACES:
        return None, 0
    # The number of fitting visits changes only at the edges: count between them.
    begins = np.sort([begin for _, stays in spans for begin, _ in stays])
    ends = np.sort([end for _, stays in spans for _, end in stays])
    edges = np.unique(np.concatenate([begins, ends]))
    middles = (edges[:-1] + edges[1:]) / 2
    counts = np.searchsorted(begins, middles) - np.searchsorted(ends, middles)
    best = int(counts.argmax())
    first = last = best
    while last + 1 < len(counts) and counts[last + 1] == counts[best]:
        last += 1
    low, high = float(edges[first]), float(edges[last + 1])
    places = _distinct([place for place, stays in spans if any(a <= middles[best] <= b for a, b in stays)])
    enough = places >= LEAST_PLACES and counts[best] >= _AGREEING * len(spans)
    elsewhere = (middles < low - _WIDEST_HOURS) | (middles > high + _WIDEST_HOURS)
    rival = int(counts[elsewhere].max(initial=0))
    unmoved = sum(any(a <= 0 <= b for a, b in stays) for _, stays in spans)
    clear = max(rival, unmoved) <= _RIVAL * counts[best] and high - low <= _WIDEST_HOURS
    return (_rounded(low, high), places) if enough and clear else (None, 0)


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans in order as spans that do not overlap."""
    joined = [spans[0]]
    for begin, end in spans[1:]:
        if begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _visits(
    fixes: Sequence[tuple[float, tuple[float, float]]],
) -> list[tuple[float, float, tuple[float, float]]]:
    """Return the visits of a camera: begin and end in hours, and the place."""
    visits: list[tuple[float, float, tuple[float, float]]] = []
    for hours, place in sorted(fixes):
        begun, ended, last = visits[-1] if visits else (0.0, 0.0, place)
        same = bool(visits) and hours - ended <= _VISIT_GAP_HOURS
        if same and distances_km(place, last)[0] <= SAME_PLACE_KM:
            visits[-1] = (begun, hours, last)
        else:
            visits.append((hours, hours, place))
    return visits


def _distinct(places: Sequence[tuple[float, float]]) -> int:
    kept: list[tuple[float, float]] = []
    for place in places:
        if not kept or distances_km(place, kept).min() > SAME_PLACE_KM:
            kept.append(place)
    return len(kept)


def _rounded(low: float, high: float) -> float:
    """Return the error in the middle of a range; whole hours, the errors of time zones, come first."""
    middle = (low + high) / 2
    return float(round(middle)) if low <= round(middle) <= high else middle
