"""Reads the rings of areas from TopoJSON (https://github.com/topojson/topojson-specification)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

Ring = list[tuple[float, float]]


def rings_of(topology: dict[str, Any]) -> Callable[[list[int]], Ring]:
    """Return what maps the numbers of arcs to the ring that they make, in degrees."""
    (scale_x, scale_y), (move_x, move_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        xs, ys = (list(accumulate(step[axis] for step in arc)) for axis in (0, 1))
        arcs.append([(x * scale_x + move_x, y * scale_y + move_y) for x, y in zip(xs, ys, strict=True)])

    def ring(numbers: list[int]) -> Ring:
        points: Ring = []
        for number in numbers:
            arc = arcs[number] if number >= 0 else arcs[~number][::-1]
            points += arc[1:] if points else arc
        return points

    return ring
