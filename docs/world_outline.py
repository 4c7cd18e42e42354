"""Makes the outline of the land for all maps: `src/landmarks/geo/land.json`.

The source is Natural Earth, 1:110m land (https://www.naturalearthdata.com, public domain), in the form of the npm
package world-atlas 2.0.2 (ISC licence). Run, with `pip install shapely`:

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python docs/world_outline.py package/land-110m.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import accumulate, pairwise
from pathlib import Path

from shapely import MultiPolygon, Polygon, box, union_all
from shapely.affinity import translate
from topojson import rings_of

TARGET = Path(__file__).parents[1] / "src/landmarks/geo/land.json"
WEST, SOUTH, EAST, NORTH = -180, -58, 180, 84
"""Extent of the map: without Antarctica, where there are no landmarks."""
TOLERANCE = 0.35
"""Tolerance of the outline, in degrees: less than a pixel on the page."""
SMALLEST = 0.6
"""Square degrees of the smallest island that is drawn."""


def decoded(topology: dict) -> MultiPolygon:
    """The land of a TopoJSON file (https://github.com/topojson/topojson-specification), in degrees."""
    ring = rings_of(topology)
    (land,) = topology["objects"]["land"]["geometries"]
    land_rings = [unrolled(ring(outer)) for outer, *_ in land["arcs"]]
    lakes = [unrolled(ring(hole)) for _, *holes in land["arcs"] for hole in holes]
    # The south pole's land goes all around the map, and is not drawn.
    return everywhere(points for points in land_rings if max(y for _, y in points) > SOUTH) - everywhere(lakes)


def everywhere(rings: Iterable[list[tuple[float, float]]]) -> MultiPolygon:
    """The areas inside rings; parts beyond one edge of the map continue at the other."""
    areas = [Polygon(points).buffer(0) for points in rings]
    return union_all([translate(area, turn) for area in areas for turn in (-360, 0, 360)])


def unrolled(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a ring without the jump where it crosses 180 degrees."""
    turns = accumulate((-round((b[0] - a[0]) / 360) * 360 for a, b in pairwise(points)), initial=0)
    return [(x + turn, y) for (x, y), turn in zip(points, turns, strict=True)]


def path_of(land: MultiPolygon) -> str:
    """The outline as an SVG path: tenths of degrees to the right of `WEST` and down from `NORTH`."""
    commands = []
    for polygon in land.geoms:
        for ring in (polygon.exterior, *polygon.interiors):
            points = [(round((x - WEST) * 10), round((NORTH - y) * 10)) for x, y in ring.coords[:-1]]
            steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
            commands.append(f"M{points[0][0]} {points[0][1]}l" + " ".join(f"{x} {y}" for x, y in steps) + "z")
    return "".join(commands)


def main() -> None:
    land = decoded(json.loads(Path(sys.argv[1]).read_text()))
    shown = land.intersection(box(WEST, SOUTH, EAST, NORTH)).simplify(TOLERANCE)
    large = MultiPolygon([part for part in shown.geoms if part.area >= SMALLEST])
    values = {
        "source": "Natural Earth 1:110m land, public domain, simplified by docs/world_outline.py",
        "west": WEST,
        "south": SOUTH,
        "east": EAST,
        "north": NORTH,
        "path": path_of(large),
    }
    TARGET.write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
