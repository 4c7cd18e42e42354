"""The town, region and country of a position, from a table of 130,000 towns.

The table is `towns.npz` beside this module: names, positions to a kilometre and numbers of people from GeoNames
(https://www.geonames.org, CC BY 4.0), made by `docs/towns.py`. It has points, not boundaries, so a country or
region is that of the town, and may be wrong within some kilometres of a border.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from landmarks.geo.gazetteer import EARTH_RADIUS_KM

TOWNS_FILE = "towns.npz"

_PEOPLE_PER_KM2 = 4000.0  # of a dense town: how large one with so many people is
_NEAR_KM = 60.0  # of a position, for the orientation on a map
_OUTSIDE_KM = 25.0  # a photo farther outside of every town is in none
_FOREIGN_KM = 100.0  # and one this far is in no country, but at sea


@dataclass(frozen=True)
class Town:
    """A town, or what is known of a position outside all towns.

    Attributes:
        name: Its name; empty if the position is far from any town.
        region: State, province or region it is in; empty when unknown.
        country: Country in English, named as in the gazetteer.
        country_code: Its ISO 3166-1 alpha-2 code.
    """

    name: str
    region: str
    country: str
    country_code: str


@dataclass(frozen=True)
class _Towns:
    """The table.

    Attributes:
        names: Names.
        directions: (N, 3) float32, unit vectors from the centre of the Earth.
        radii: (N,) float32, kilometres from the centre of a town to its edge.
        areas: (N,) uint16, the area of each.
        area_names: Country code, country and region of each area.
    """

    names: list[str]
    directions: NDArray[np.float32]
    radii: NDArray[np.float32]
    areas: NDArray[np.uint16]
    area_names: list[tuple[str, str, str]]


def find_town(position: tuple[float, float]) -> Town | None:
    """Return the town that a position is in or near, or None more than 100 km from any town.

    A town is taken for a disc whose area follows from the number of its people. Inside several, as in a suburb,
    the one whose middle is relatively nearest wins; outside all, the one whose edge is nearest.

    Args:
        position: Latitude and longitude in decimal degrees.
    """
    towns = _towns()
    # The chord between two points of the unit sphere, as float32 keeps its precision for close points.
    chords = np.linalg.norm(towns.directions - _directions(*np.radians(position)), axis=-1)
    distances = EARTH_RADIUS_KM * 2 * np.arcsin(np.minimum(chords / 2, 1))
    inside = distances / towns.radii
    best = int(inside.argmin())
    if inside[best] > 1:
        best = int((distances - towns.radii).argmin())
    beyond = float(distances[best] - towns.radii[best])
    if beyond > _FOREIGN_KM:
        return None
    code, country, region = towns.area_names[towns.areas[best]]
    return Town(towns.names[best] if beyond <= _OUTSIDE_KM else "", region, country, code)


@lru_cache(maxsize=4096)
def find_position(name: str, region: str, country_code: str) -> tuple[float, float] | None:
    """Return the position in degrees of the largest town of this name in a region; None if there is none.

    Args:
        name: Its name.
        region: Its region; empty for the whole country.
        country_code: ISO 3166-1 alpha-2 code of its country.
    """
    towns = _towns()
    named = [
        (index, towns.area_names[towns.areas[index]]) for index, other in enumerate(towns.names) if other == name
    ]
    there = [index for index, (code, _, own) in named if code == country_code and region in {"", own}]
    if not there:
        return None
    return _labelled(towns, max(there, key=lambda index: float(towns.radii[index])))[1:]


def countries() -> dict[str, str]:
    """Return the English names of the countries of all towns by ISO 3166-1 alpha-2 code."""
    return {code: country for code, country, _ in _towns().area_names}


def largest_towns(
    positions: Iterable[tuple[float, float]], *, near: int = 400, far: int = 150
) -> list[tuple[str, float, float]]:
    """Return towns for the orientation on a map, the largest first: name, latitude and longitude.

    Args:
        positions: What the map is about, as latitude and longitude in degrees.
        near: Largest number of near towns, those within 60 km of a position.
        far: Number of the world's largest towns, which are included wherever they are.
    """
    towns = _towns()
    by_size = np.argsort(-towns.radii, kind="stable")
    chord = 2 * math.sin(_NEAR_KM / (2 * EARTH_RADIUS_KM))
    close = np.zeros(len(towns.names), dtype=bool)
    for position in sorted({(round(latitude, 1), round(longitude, 1)) for latitude, longitude in positions}):
        offsets = towns.directions - _directions(*np.radians(position))
        close |= np.einsum("ij,ij->i", offsets, offsets) <= chord**2
    chosen = {*by_size[:far].tolist(), *by_size[close[by_size]][:near].tolist()}
    return [_labelled(towns, index) for index in by_size.tolist() if index in chosen]


def largest_towns_in(
    south: float, west: float, north: float, east: float, limit: int
) -> list[tuple[str, float, float]]:
    """Return the largest towns of a part of a map, the largest first: name, latitude and longitude.

    Args:
        south: Its least latitude in degrees.
        west: The longitude at its left; more than `east` across the date line.
        north: Its largest latitude.
        east: The longitude at its right.
        limit: Most towns.
    """
    towns = _towns()
    x, y, z = towns.directions.T
    latitudes, longitudes = np.degrees(np.arcsin(z)), np.degrees(np.arctan2(y, x))
    inside = (latitudes >= south) & (latitudes <= north)
    after, before = longitudes >= west, longitudes <= east
    inside &= (after & before) if west <= east else (after | before)
    places = np.flatnonzero(inside)
    largest = places[np.argsort(-towns.radii[places], kind="stable")][:limit]
    return [_labelled(towns, index) for index in largest.tolist()]


def _labelled(towns: _Towns, index: int) -> tuple[str, float, float]:
    x, y, z = map(float, towns.directions[index])
    latitude, longitude = math.degrees(math.asin(z)), math.degrees(math.atan2(y, x))
    return towns.names[index], round(latitude, 2), round(longitude, 2)


@cache
def _towns() -> _Towns:
    with resources.files("landmarks.geo").joinpath(TOWNS_FILE).open("rb") as file, np.load(file) as table:
        latitudes, longitudes = (np.radians(table[name] / 100) for name in ("latitudes", "longitudes"))
        areas = [tuple(line.split("\t")) for line in _lines(table["area_names"])]
        return _Towns(
            names=_lines(table["names"]),
            directions=_directions(latitudes, longitudes),
            radii=np.sqrt(table["people"] / (math.pi * _PEOPLE_PER_KM2)).astype(np.float32),
            areas=table["areas"],
            area_names=[(code, country, region) for code, country, region in areas],
        )


def _lines(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode().split("\n")


def _directions(latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> NDArray[np.float32]:
    across = np.cos(latitudes)
    parts = (across * np.cos(longitudes), across * np.sin(longitudes), np.sin(latitudes))
    return np.stack(parts, axis=-1).astype(np.float32)
