"""Which tags of a trip cannot be true, and which become likely, beside those that are certain.

Photos with a position and photos with a sure landmark are anchors. Two rules take tags away:

1. A tag is impossible if nobody could have come from there to the anchors around it, by car or by plane.
2. An unsure tag is lone if the anchors next to it, at most twelve hours away, are elsewhere. Of photos of
   landmarks that a model does not know, those that get a tag mostly get an unsure one, of a place far from the
   rest of the trip.

One rule adds tags: an unsure candidate close to two anchors in time and place becomes likelier; to one, if that is
a camera's position or a landmark that the user has confirmed. Nobody's word is final: an anchor that others
outvote is none, and where the anchors are at odds (wrong clocks, photos of several people) they decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import counted
from landmarks.geo.distances import distances_km
from landmarks.tagging.trips.travel import (
    LONGEST_HOURS,
    SIGHT_KM,
    hours_of,
    passed_hours,
    travel_hours,
)

SUPPORT = 10.0
"""Factor on the odds of a candidate near an anchor; the same as for one near the camera's position."""

NEAR_KM = 25.0
"""How far an anchor may be from a candidate that it supports."""

NEAR_HOURS = 2.0
"""How long before or after the photo it may have been taken."""

LONE_HOURS = 12.0
"""How far the anchors next to an unsure tag may be from it in time to tell that it is lone."""

_POSITION_WEIGHT = 2.0  # a receiver is wrong less often than a network
_SUPPORTING = 2.0  # weight of the anchors that a raised tag needs
_OUTNUMBERED = 2.0  # how many anchors must contradict one, as a multiple of those that agree with it
_DOUBTFUL_SHARE = 0.25  # more contradicted places than this among the anchors: the clocks are wrong, not the tags


ChangeKind = Literal["impossible", "lone", "raised"]


@dataclass(frozen=True)
class Guess:
    """A candidate of a photo.

    Attributes:
        name: Its display name.
        probability: Its probability, 0 to 1.
        place: Latitude and longitude of the landmark in degrees; None if it has none.
    """

    name: str
    probability: float
    place: tuple[float, float] | None


@dataclass(frozen=True)
class Sighting:
    """What one photo tells about where it was taken.

    Attributes:
        photo: The photo.
        taken: When, by a clock that agrees with those of the others; None if unknown.
        position: Latitude and longitude of the camera in degrees; None if unknown.
        tag: What it is tagged with, or None.
        sure: Whether that tag is certain enough to be an anchor.
        confirmed: Whether the user has confirmed it, which counts like a position.
        candidates: The likeliest landmarks of a photo that may become a tag, likeliest first; else empty.
        needed: Minimum probability for a tag.
    """

    photo: Path
    taken: datetime | None
    position: tuple[float, float] | None = None
    tag: Guess | None = None
    sure: bool = False
    confirmed: bool = False
    candidates: tuple[Guess, ...] = ()
    needed: float = 0.5

    @property
    def where(self) -> tuple[float, float] | None:
        """Where it was taken if it is an anchor, else None."""
        certain = self.tag is not None and (self.sure or self.confirmed)
        return self.position or (self.tag.place if certain and self.tag is not None else None)

    @property
    def weight(self) -> float:
        """How much it counts as an anchor."""
        return _POSITION_WEIGHT if self.position is not None or self.confirmed else 1.0


@dataclass(frozen=True)
class Change:
    """What a trip changes about a photo.

    Attributes:
        photo: The photo.
        kind: `impossible` or `lone`: its tag is taken away; `raised`: a candidate becomes its tag.
        guess: The tag; of a raised one with its new probability.
        anchor: Name of the landmark that decided, empty for a camera's position.
        anchor_photo: The photo of that anchor.
        hours: Hours from the photo to that anchor by the clocks, below 0 if the anchor came first.
        kilometres: Distance between both.
    """

    photo: Path
    kind: ChangeKind
    guess: Guess
    anchor: str
    anchor_photo: Path
    hours: float
    kilometres: float

    @property
    def reason(self) -> str:
        """The reason in words."""
        span = _span(abs(self.hours))
        when = f"{span} {'before' if self.hours < 0 else 'after'}" if span else "at the same time"
        what = f"{self.anchor} was photographed" if self.anchor else "the camera was"
        seen = f"{what} {when}, {self.kilometres:,.0f} km away" if self.kilometres >= 1 else f"{what} there {when}"
        seen += f" ({self.anchor_photo.name})"
        if self.kind == "raised":
            return seen
        if self.kind == "lone":
            return f"it is not sure, and no photo next to it is from there: {seen}"
        return f"{seen}: the way takes at least {travel_hours(max(0.0, self.kilometres - SIGHT_KM)):.0f} h"


@dataclass(frozen=True)
class Reconciled:
    """What a trip changes.

    Attributes:
        changes: The changes, by photo.
        doubtful: Number of anchors that contradict each other, so that they decide nothing.
    """

    changes: dict[Path, Change]
    doubtful: int


@dataclass(frozen=True, eq=False)
class _Anchors:
    """Anchors ordered by time.

    Attributes:
        sightings: The photos.
        hours: (N,), times.
        places: (N, 2), positions in degrees.
        weights: (N,), how much each counts.
        zoned: Whether the times are universal.
    """

    sightings: Sequence[Sighting]
    hours: NDArray[np.float64]
    places: NDArray[np.float64]
    weights: NDArray[np.float64]
    zoned: bool

    def around(self, hours: float, span: float) -> slice:
        """Return the anchors at most a span of hours away."""
        first, last = np.searchsorted(self.hours, (hours - span, hours + span + 1e-9))
        return slice(int(first), int(last))

    def contradict(self, hours: float, place: tuple[float, float]) -> tuple[slice, NDArray[np.bool_]]:
        """Return the anchors around a moment, and which of them nobody could have reached from a place."""
        found = self.around(hours, LONGEST_HOURS)
        there = self.places[found]
        way = np.maximum(0.0, distances_km(place, there) - SIGHT_KM)
        passed = passed_hours(hours, place[1], self.hours[found], there[:, 1], zoned=self.zoned)
        return found, travel_hours(way) > passed

    def agree(self, found: slice, place: tuple[float, float]) -> NDArray[np.bool_]:
        """Return which of some anchors are where a place is."""
        return distances_km(place, self.places[found]) <= SIGHT_KM

    def only(self, kept: NDArray[np.bool_]) -> _Anchors:
        """Return some of the anchors."""
        sightings = [sighting for sighting, keep in zip(self.sightings, kept, strict=True) if keep]
        return _Anchors(sightings, self.hours[kept], self.places[kept], self.weights[kept], self.zoned)


def reconcile(sightings: Iterable[Sighting], *, zoned: bool | None = None) -> Reconciled:
    """Return what photos of one trip, or of many, change about each other.

    Args:
        sightings: The photos, in any order.
        zoned: Whether universal time is compared; None to compare it if all photos have a time zone.
    """
    listed = [sighting for sighting in sightings if sighting.taken is not None]
    times, zoned = hours_of((sighting.taken for sighting in listed), zoned=zoned)
    order = np.argsort(times, kind="stable")
    ordered, times = [listed[index] for index in order], times[order]
    is_anchor = np.array([sighting.where is not None for sighting in ordered], dtype=bool)
    certain = [sighting for sighting in ordered if sighting.where is not None]
    places = np.array([sighting.where for sighting in certain], dtype=np.float64).reshape(-1, 2)
    weights = np.array([sighting.weight for sighting in certain]) / _files_of_one(times[is_anchor], places)
    anchors = _Anchors(certain, times[is_anchor], places, weights, zoned)
    refused, doubtful = _judge(anchors)
    trusted = anchors.only(~refused & ~doubtful)
    unsettled = {anchors.sightings[index].photo for index in np.flatnonzero(doubtful).tolist()}
    changes: dict[Path, Change] = {}
    for sighting, hours in zip(ordered, times, strict=True):
        if sighting.position is not None or sighting.confirmed or sighting.photo in unsettled:
            continue  # a camera's own position is weighed by the tagger, and the user's word counts
        change = (_raise if sighting.tag is None else _veto)(sighting, float(hours), trusted)
        if change is not None:
            changes[sighting.photo] = change
    return Reconciled(changes, int(doubtful.sum()))


def _files_of_one(hours: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return how many anchors (N,) are of the same time and place: a RAW file and its JPEG are one photo."""
    shots = np.column_stack([hours, places])
    _, which, counts = np.unique(shots, axis=0, return_inverse=True, return_counts=True)
    return counts[which.reshape(-1)]


def _judge(anchors: _Anchors) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which anchors (N,) the others outvote, and which contradict each other so that neither counts."""
    count = len(anchors.sightings)
    outvoted, contradicted = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for index in range(count):
        found, against = anchors.contradict(anchors.hours[index], tuple(anchors.places[index]))
        if not against.any():
            continue
        weights = anchors.weights[found]
        contradicted[index] = True
        agreeing = weights[anchors.agree(found, tuple(anchors.places[index]))].sum()  # itself too
        outvoted[index] = weights[against].sum() >= _OUTNUMBERED * agreeing
    refused = np.zeros(count, dtype=bool)
    doubtful = np.zeros(count, dtype=bool)
    for index in np.flatnonzero(contradicted).tolist():
        found, against = anchors.contradict(anchors.hours[index], tuple(anchors.places[index]))
        places = {tuple(place) for place in anchors.places[found][outvoted[found]]}
        credible = len(places) <= max(1.0, _DOUBTFUL_SHARE * (found.stop - found.start))
        refused[index] = outvoted[index] and credible and bool((against & ~outvoted[found]).any())
    for index in np.flatnonzero(contradicted & ~refused).tolist():
        found, against = anchors.contradict(anchors.hours[index], tuple(anchors.places[index]))
        doubtful[index] = bool((against & ~refused[found]).any())
    return refused, doubtful


def _veto(sighting: Sighting, hours: float, trusted: _Anchors) -> Change | None:
    """Return that a tag is impossible or lone, or None."""
    tag = sighting.tag
    if tag is None or tag.place is None:
        return None
    found, against = trusted.contradict(hours, tag.place)
    weights, agreeing = trusted.weights[found], trusted.agree(found, tag.place)
    if weights[against].sum() > weights[agreeing].sum():
        nearest = int(np.flatnonzero(against)[np.abs(trusted.hours[found][against] - hours).argmin()])
        return _change(sighting.photo, "impossible", tag, hours, (trusted, found.start + nearest))
    beside = [] if sighting.sure else _beside(hours, trusted)
    if not beside or any(distances_km(tag.place, trusted.places[beside]) <= SIGHT_KM):
        return None
    nearest = min(beside, key=lambda index: abs(float(trusted.hours[index]) - hours))
    return _change(sighting.photo, "lone", tag, hours, (trusted, nearest))


def _beside(hours: float, trusted: _Anchors) -> list[int]:
    """Return the anchors just before and after a moment, if they are not too far from it."""
    after = int(np.searchsorted(trusted.hours, hours))
    pair = [index for index in (after - 1, after) if 0 <= index < len(trusted.hours)]
    return [index for index in pair if abs(trusted.hours[index] - hours) <= LONE_HOURS]


def _raise(sighting: Sighting, hours: float, trusted: _Anchors) -> Change | None:
    """Return the candidate that becomes a tag beside the anchors, or None."""
    found = trusted.around(hours, NEAR_HOURS)
    if found.start == found.stop or not sighting.candidates:
        return None
    near = [_nearest(guess, hours, trusted, found) for guess in sighting.candidates]
    weighted = [
        guess.probability * (1.0 if anchor is None else SUPPORT)
        for guess, anchor in zip(sighting.candidates, near, strict=True)
    ]
    best = int(np.argmax(weighted))
    anchor = near[best]
    rest = max(0.0, 1.0 - sum(guess.probability for guess in sighting.candidates))
    probability = weighted[best] / (sum(weighted) + rest)
    if anchor is None or probability < sighting.needed:
        return None
    guess = Guess(sighting.candidates[best].name, probability, sighting.candidates[best].place)
    return _change(sighting.photo, "raised", guess, hours, (trusted, anchor))


def _nearest(guess: Guess, hours: float, trusted: _Anchors, found: slice) -> int | None:
    """Return the anchor nearest in time among those near a candidate, or None."""
    if guess.place is None:
        return None
    close = np.flatnonzero(distances_km(guess.place, trusted.places[found]) <= NEAR_KM)
    if trusted.weights[found][close].sum() < _SUPPORTING - 1e-9:  # thirds do not add up exactly
        return None
    return int(found.start) + int(close[np.abs(trusted.hours[found][close] - hours).argmin()])


def _change(photo: Path, kind: ChangeKind, guess: Guess, hours: float, decided: tuple[_Anchors, int]) -> Change:
    anchors, index = decided
    anchor = anchors.sightings[index]
    name = anchor.tag.name if anchor.tag is not None and anchor.position is None else ""
    kilometres = float(distances_km(guess.place or (0.0, 0.0), anchors.places[index])[0])
    return Change(photo, kind, guess, name, anchor.photo, float(anchors.hours[index] - hours), kilometres)


def _span(hours: float) -> str:
    minutes = round(hours * 60)
    if minutes < 1:
        return ""
    return counted(minutes, "minute") if minutes < 120 else f"{hours:.0f} h"
