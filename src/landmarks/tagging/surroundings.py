"""Tags for where a photo was taken, from the camera's position: the nearest landmark in sight, and the town."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from landmarks.errors import SettingsError
from landmarks.geo.gazetteer import Gazetteer, Place, distance_km, normalise, normalise_given, tidied
from landmarks.geo.nearby import Nearby, nearest_landmark
from landmarks.geo.towns import Town, find_position, find_town
from landmarks.metadata import gps
from landmarks.tagging.tags import Tag

if TYPE_CHECKING:
    from landmarks.fewshot.learned import LearnedLandmark

_SAME_TOWN_KM = 50
"""Farthest that a landmark of a town is from its middle."""


def tags_of_position(
    position: tuple[float, float], gazetteer: Gazetteer, recognized: tuple[Tag, ...]
) -> tuple[tuple[Tag, ...], Nearby | None]:
    """Return the tags for a position, with probability 1: the most specific first.

    Args:
        position: Latitude and longitude of the camera in degrees.
        gazetteer: Landmarks to choose from, and the names of countries.
        recognized: Tags of what the photo shows; none of them is repeated.

    Returns:
        The tags, and the nearest landmark in sight or None.
    """
    nearby, town = nearest_landmark(position, gazetteer), find_town(position)
    found: list[Tag] = []
    if nearby is not None:
        found.append(Tag(nearby.place.name, "landmark", 1.0, nearby.place, None, "position"))
    if town is not None:
        found.append(_town_tag(town, gazetteer.country_name(town.country_code, town.country)))
    known = {(tag.level, tag.name) for tag in recognized}
    return tuple(tag for tag in found if (tag.level, tag.name) not in known), nearby


def position_of_town(tags: Iterable[Tag]) -> tuple[float, float] | None:
    """Return the middle of the first town among the tags of a photo.

    Where the tag comes from a landmark, the largest town of that name may be another one, and the name may be that
    of a district, which the table of towns does not have: then it is where that landmark is.
    """
    for place in (tag.place for tag in tags if tag.level == "city" and tag.place is not None):
        town, landmark = find_position(place.city, place.region, place.country_code), place.coordinates
        if town is not None and (landmark is None or distance_km(town, landmark) <= _SAME_TOWN_KM):
            return town
        if landmark is not None:
            return landmark
    return None


def taught_tag(landmark: LearnedLandmark, probability: float, gazetteer: Gazetteer) -> Tag:
    """Return the tag of a taught landmark, with its place in the gazetteer unless the user put it elsewhere."""
    place = landmark.place_in(gazetteer)
    if place is None and landmark.position is not None:
        place = place_at(tidied(landmark.name), landmark.position, gazetteer)
    return Tag(tidied(landmark.name) if place is None else place.name, "landmark", probability, place, None)


def place_at(name: str, position: tuple[float, float], gazetteer: Gazetteer) -> Place:
    """Return a place that is in no table, by its name and its latitude and longitude in degrees."""
    town, key = find_town(position), normalise_given(name)
    if gazetteer.get(key) is not None:  # one of the same name elsewhere: the key of each is its own
        key += "_{:.3f}_{:.3f}".format(*position)
    place = Place(key, name, "", "", "", "", *position, None)
    if town is None:
        return place
    country = gazetteer.country_name(town.country_code, town.country)
    return replace(place, city=town.name, country=country, country_code=town.country_code, region=town.region)


def _town_tag(town: Town, country: str) -> Tag:
    name = town.name or country
    place = Place(
        key=normalise(name),
        name=name,
        city=town.name,
        country=country,
        country_code=town.country_code,
        kind="",
        latitude=None,
        longitude=None,
        wikidata=None,
        region=town.region,
    )
    return Tag(name, "city" if town.name else "country", 1.0, place, None, "position")


def checked_position(position: Iterable[float]) -> tuple[float, float]:
    """Return latitude and longitude in degrees; raises `SettingsError` if they are not."""
    try:
        latitude, longitude = map(float, position)
    except (TypeError, ValueError):
        latitude = longitude = math.nan
    if not gps.in_range(latitude, longitude):
        raise SettingsError(
            f"`positions` must be latitude and longitude in degrees for each photo, not {position!r} for one"
        )
    return latitude, longitude
