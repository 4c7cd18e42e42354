"""Which photos of a run tell nothing about each other, so that some are decided before the others are seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from landmarks.metadata.reading import Facts
from landmarks.tagging.trips.travel import LONGEST_HOURS, hours_of


def parts_of(facts: Mapping[Path, Facts]) -> dict[Path, int]:
    """Return the number of the part that each photo is in.

    Between two parts is a longer time than `LONGEST_HOURS`, the longest over which one photo tells anything about
    another. Where a camera may have a wrong clock, which photos of any time may show, all are in one part. A photo
    whose time is not known is a part of its own.

    Args:
        facts: When, where and with what each photo was taken.
    """
    timed = [photo for photo, one in facts.items() if one.taken is not None]
    found = {photo: -1 - index for index, photo in enumerate(facts) if facts[photo].taken is None}
    if _may_differ([facts[photo] for photo in timed]):
        return found | dict.fromkeys(timed, 0)
    hours, _ = hours_of(facts[photo].taken for photo in timed)
    part, last = 0, None
    for now, photo in sorted(zip(hours.tolist(), timed, strict=True)):
        part += last is not None and now - last > LONGEST_HOURS + 1e-6
        found[photo], last = part, now
    return found


def _may_differ(timed: list[Facts]) -> bool:
    """Return whether the clock of a camera can be compared with that of one that recorded positions."""
    cameras = {one.device for one in timed if one.device}
    return len(cameras) > 1 and any(one.device and one.position is not None for one in timed)
