"""Where photos without a position were probably taken: between the photos before and after them.

An estimate is never taken for the camera's position: it yields the name of a town and no more, the tag has a
source of its own, and nothing is estimated across a flight or from a photo that was taken much earlier or later.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from landmarks.errors import SettingsError
from landmarks.geo.gazetteer import Gazetteer, distance_km
from landmarks.tagging.surroundings import tags_of_position
from landmarks.tagging.tagger import Finding

FASTEST_KM_PER_HOUR = 130.0
"""Speed between two photos above which no position between them is estimated: a car's on a motorway."""

_STILL_KM = 1.0  # two positions this close need no speed: clocks show whole seconds and receivers err
_SPAN = re.compile(r"(\d{1,4}) ?(min|h)")


@dataclass(frozen=True)
class Shot:
    """When and where a photo was taken.

    Attributes:
        photo: The photo.
        taken: When, by the camera's clock; None if unknown.
        position: Latitude and longitude of the camera in degrees; None if unknown.
    """

    photo: Path
    taken: datetime | None
    position: tuple[float, float] | None


def parse_span(text: str) -> timedelta:
    """Parse a span of time such as `30min` or `2h`.

    Raises:
        SettingsError: It is none, or longer than a day; the message names the argument `within`.
    """
    match = _SPAN.fullmatch(text.strip())
    span = timedelta(minutes=int(match[1]) * (60 if match[2] == "h" else 1)) if match else timedelta()
    if not timedelta() < span <= timedelta(days=1):
        raise SettingsError(f"`within` must be a time up to 24h, such as 30min or 2h, not {text!r}")
    return span


def estimate_positions(
    shots: Iterable[Shot], within: timedelta, *, zoned: bool | None = None
) -> dict[Path, tuple[float, float]]:
    """Return estimated positions of the photos that have none.

    The clocks of all cameras are taken to agree. If all photos have a time zone, universal time is compared, else
    what the clocks showed.

    Args:
        shots: Photos of one trip or many, in any order.
        within: Longest time to the photos before and after; one of them is enough.
        zoned: Whether universal time is compared; None as above.
    """
    timed = [(shot.taken, shot) for shot in shots if shot.taken is not None]
    if zoned is None:
        zoned = all(taken.tzinfo is not None for taken, _ in timed)
    clocked = sorted(
        ((taken.astimezone(UTC) if zoned else taken.replace(tzinfo=None), shot) for taken, shot in timed),
        key=lambda pair: (pair[0], pair[1].photo),
    )
    known = [(taken, shot.position) for taken, shot in clocked if shot.position is not None]
    times = [taken for taken, _ in known]
    found: dict[Path, tuple[float, float]] = {}
    for taken, shot in clocked:
        if shot.position is not None:
            continue
        after = bisect_left(times, taken)
        neighbours = [one for one in known[max(0, after - 1) : after + 1] if abs(one[0] - taken) <= within]
        position = _between(taken, neighbours)
        if position is not None:
            found[shot.photo] = position
    return found


def with_estimate(
    finding: Finding, estimates: Mapping[Path, tuple[float, float]], gazetteer: Gazetteer
) -> Finding:
    """Return a finding with a tag for the town of its estimated position.

    It is returned as it is if the photo has no estimate, or shows itself where it was taken.

    Args:
        finding: The finding.
        estimates: Estimated position of each photo, from `estimate_positions`.
        gazetteer: Provides the names of countries.
    """
    photo = finding.photo
    position = estimates.get(photo.path)
    placed = any(tag.level in {"landmark", "city"} for tag in photo.tags)
    if position is None or placed or photo.error is not None:
        return finding
    tags, _ = tags_of_position(position, gazetteer, photo.tags)
    towns = tuple(replace(tag, source="estimated") for tag in tags if tag.level != "landmark")
    return replace(finding, photo=replace(photo, tags=(*photo.tags, *towns)))


def _between(
    taken: datetime, neighbours: list[tuple[datetime, tuple[float, float]]]
) -> tuple[float, float] | None:
    """Return the position at a time, moving evenly from the first neighbour to the second."""
    if len(neighbours) < 2:
        return neighbours[0][1] if neighbours else None
    (before, here), (later, there) = neighbours
    hours = (later - before).total_seconds() / 3600
    distance = distance_km(here, there)
    if distance > max(_STILL_KM, FASTEST_KM_PER_HOUR * hours):
        return None
    share = (taken - before) / (later - before) if later > before else 0.0
    # The short way around the date line.
    east = (there[1] - here[1] + 180) % 360 - 180
    return here[0] + share * (there[0] - here[0]), (here[1] + share * east + 180) % 360 - 180
