"""Where and when a photo was taken, as far as it is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from landmarks.metadata.reading import read_facts
from landmarks.tagging.surroundings import position_of_town
from landmarks.tagging.tags import Tag
from landmarks.tagging.trips.travel import hours_of


@dataclass(frozen=True)
class Spot:
    """A photo with a position.

    Attributes:
        photo: The photo.
        tags: Its tags.
        position: Latitude and longitude in degrees.
        source: What is there: the camera, else the landmark in the photo, else the town of its tags.
        taken: When the photo was taken by the camera's clock, with its time zone if the camera recorded it.
    """

    photo: Path
    tags: tuple[Tag, ...]
    position: tuple[float, float]
    source: Literal["camera", "landmark", "town"]
    taken: datetime | None

    @property
    def name(self) -> str:
        """Name of the first tag that is not only estimated, else of the file."""
        return next((tag.name for tag in self.tags if tag.source != "estimated"), self.photo.name)

    @property
    def landmarks(self) -> list[Tag]:
        """Tags of landmarks in the photo whose position is known."""
        return [tag for tag in self.tags if _is_placed(tag)]


def find_spot(photo: Path, tags: tuple[Tag, ...]) -> Spot | None:
    """Return where a photo was taken, or None if neither it nor its tags tell.

    Args:
        photo: The photo; only its metadata are read.
        tags: Its tags.
    """
    facts = read_facts(photo)
    if facts.position is not None:
        return Spot(photo, tags, facts.position, "camera", facts.taken)
    for tag in tags:
        if _is_placed(tag) and tag.place is not None and tag.place.coordinates is not None:
            return Spot(photo, tags, tag.place.coordinates, "landmark", facts.taken)
    town = position_of_town(tags)
    return None if town is None else Spot(photo, tags, town, "town", facts.taken)


def in_order(spots: Iterable[Spot]) -> list[Spot]:
    """Return spots in order of time; those without one come last, by path.

    If all times have a zone, universal time counts, else what the clocks showed.
    """
    ordered = sorted(spots, key=lambda spot: spot.photo)
    hours, _ = hours_of(spot.taken for spot in ordered)
    return [ordered[place] for place in np.argsort(hours, kind="stable").tolist()]  # NaN comes last


def _is_placed(tag: Tag) -> bool:
    return (
        tag.level == "landmark" and tag.source == "photo" and tag.place is not None and bool(tag.place.coordinates)
    )
