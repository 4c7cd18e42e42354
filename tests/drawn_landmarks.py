"""The landmarks of the drawn scenes: a pen with light and tilt, and eight shapes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

# What a landmark is made of. All classes share them, so that colour gives nothing away.
MATERIALS: tuple[Colour, ...] = (
    (214, 196, 160),  # sandstone
    (190, 186, 178),  # limestone
    (168, 104, 78),  # brick
    (226, 220, 208),  # marble
    (146, 132, 118),  # weathered stone
    (186, 150, 112),  # ochre
)
ACCENTS: tuple[Colour, ...] = ((150, 52, 46), (46, 92, 128), (60, 112, 86), (196, 148, 48), (84, 78, 92))
WATER: Colour = (84, 122, 146)
GLASS: Colour = (54, 60, 72)


@dataclass(frozen=True)
class Mood:
    """A time of day: the sky from top to horizon, and how far it dims and tints what stands below."""

    top: Colour
    horizon: Colour
    tint: Colour
    dim: float


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Blend `share` of `other` into `one`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shade(colour: Colour, amount: float) -> Colour:
    """Make a colour darker (below 0, to -1) or lighter (above 0, to 1)."""
    return mix(colour, (0, 0, 0) if amount < 0 else (255, 255, 255), abs(amount))


class Pen:
    """Draws in the landmark's own measure: x to the right, y up from its foot, about 2 high.

    Args:
        image: The image to draw on.
        foot: Position of the middle of the landmark's foot, in pixels.
        unit: Pixels per unit.
        tilt: Turn in radians, as of a camera that is not held level.
        mood: Tints every colour.
        sun: 1 when the light comes from the right, -1 from the left.
    """

    def __init__(self, image: Image.Image, foot: Point, unit: float, tilt: float, mood: Mood, sun: int) -> None:
        self.draw = ImageDraw.Draw(image)
        self.foot, self.unit, self.mood, self.sun = foot, unit, mood, sun
        self.cos, self.sin = math.cos(tilt), math.sin(tilt)

    def _at(self, point: Point) -> Point:
        x, y = point
        return (
            self.foot[0] + self.unit * (x * self.cos - y * self.sin),
            self.foot[1] - self.unit * (x * self.sin + y * self.cos),
        )

    def _lit(self, colour: Colour) -> Colour:
        red, green, blue = (
            min(255, round(c * t / 255 * self.mood.dim)) for c, t in zip(colour, self.mood.tint, strict=True)
        )
        return red, green, blue

    def shape(self, points: Iterable[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon([self._at(point) for point in points], fill=self._lit(colour))

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        """Draw a line `width` units wide."""
        pixels = max(1, round(width * self.unit))
        self.draw.line([self._at(point) for point in points], fill=self._lit(colour), width=pixels, joint="curve")

    def oval(self, middle: Point, rx: float, ry: float, colour: Colour, arc: Point = (0, 360)) -> None:
        """Fill an ellipse, or the part of it between two angles in degrees."""
        self.shape(curve(middle, rx, ry, arc), colour)

    def block(self, left: float, right: float, low: float, high: float, colour: Colour, taper: float = 0) -> None:
        """Fill an upright block with a lit and a dark side; `taper` is how much narrower each side is on top."""
        edge = left + (right - left) * (0.62 if self.sun < 0 else 0.38)
        top_edge = edge + taper * (0.24 if self.sun > 0 else -0.24)
        light, dark = shade(colour, 0.12), shade(colour, -0.22)
        if self.sun > 0:
            light, dark = dark, light
        self.shape([(left, low), (edge, low), (top_edge, high), (left + taper, high)], light)
        self.shape([(edge, low), (right, low), (right - taper, high), (top_edge, high)], dark)


def curve(middle: Point, rx: float, ry: float, arc: Point = (0, 360)) -> list[Point]:
    """Return points on an ellipse between two angles in degrees, anticlockwise from the right."""
    angles = np.radians(np.linspace(*arc, num=40))
    return [(middle[0] + rx * math.cos(a), middle[1] + ry * math.sin(a)) for a in angles]


def clock_tower(pen: Pen, rng: random.Random) -> None:
    """Draw a slender tower with a clock and a spire."""
    stone, roof = rng.choice(MATERIALS), rng.choice(ACCENTS)
    half = rng.uniform(0.17, 0.24)
    if rng.random() < 0.6:
        side = rng.choice((-1, 1)) * rng.uniform(0.4, 0.6)
        pen.block(min(0, side) - 0.1, max(0, side) + 0.1, 0, rng.uniform(0.3, 0.45), shade(stone, -0.1))
    pen.block(-half, half, 0, 1.3, stone, taper=0.02)
    for floor in range(4):
        for x in (-half * 0.45, half * 0.45):
            pen.shape(_window(x, 0.15 + floor * 0.2, 0.03, 0.09), GLASS)
    pen.block(-half - 0.05, half + 0.05, 1.0, 1.42, shade(stone, 0.08))
    pen.block(-half - 0.08, half + 0.08, 1.42, 1.48, shade(stone, 0.2))
    pen.shape([(-half - 0.04, 1.48), (half + 0.04, 1.48), (0, rng.uniform(1.95, 2.15))], roof)
    pen.shape([(pen.sun * (half + 0.04), 1.48), (0, 1.48), (0, 2.0)], shade(roof, 0.18))
    dial = half * 0.72
    pen.oval((0, 1.21), dial, dial, shade(roof, -0.3))
    pen.oval((0, 1.21), dial * 0.85, dial * 0.85, (244, 238, 218))
    for length in (0.5, 0.75):
        angle = rng.uniform(0, 2 * math.pi)
        tip = (dial * length * math.sin(angle), 1.21 + dial * length * math.cos(angle))
        pen.line([(0, 1.21), tip], 0.025, GLASS)


def arch_bridge(pen: Pen, rng: random.Random) -> None:
    """Draw a stone bridge over water, with round arches."""
    stone = rng.choice(MATERIALS)
    arches, reach = rng.choice((2, 3, 3, 4)), 1.5
    height, hump = rng.uniform(0.55, 0.75), rng.uniform(0.0, 0.18)
    pen.shape([(-6, -0.3), (6, -0.3), (6, 0.08), (-6, 0.08)], WATER)
    for _ in range(14):
        x, y = rng.uniform(-2, 2), rng.uniform(-0.28, 0.05)
        pen.line([(x, y), (x + rng.uniform(0.1, 0.4), y)], 0.012, shade(WATER, 0.3))
    top = [(x, height + hump * math.cos(x / reach * math.pi / 2)) for x in np.linspace(-reach, reach, 30)]
    wide = 2 * reach / arches
    under = [(reach, 0.0)]
    for arch in range(arches):
        middle = reach - wide * (arch + 0.5)
        under += curve((middle, 0.02), wide * 0.38, height * rng.uniform(0.78, 0.82), (0, 180))
    under.append((-reach, 0.0))
    pen.shape([(x + 0.05 * pen.sun, y - 0.04) for x, y in under] + top, shade(stone, -0.4))
    pen.shape(top + under, stone)
    pen.line(top, 0.09, shade(stone, 0.2))
    pen.line([(x, y + 0.07) for x, y in top], 0.03, shade(stone, -0.25))
    for arch in range(arches + 1):
        x = reach - wide * arch
        pen.block(x - 0.09, x + 0.09, -0.08, height * 0.62, shade(stone, -0.08), taper=0.03)


def pyramid(pen: Pen, rng: random.Random) -> None:
    """Draw one great pyramid, often with smaller ones beside it."""
    stone = rng.choice(MATERIALS)
    others = [
        (rng.choice((-1, 1)) * rng.uniform(0.9, 1.5), rng.uniform(0.35, 0.6)) for _ in range(rng.randint(0, 2))
    ]
    for x, size in [*others, (0.0, 1.0)]:
        half, high = 1.25 * size, rng.uniform(1.35, 1.65) * size
        ridge = x - pen.sun * half * rng.uniform(0.2, 0.4)
        lit, dark = shade(stone, 0.1), shade(stone, -0.32)
        pen.shape([(x - half, 0), (x + half, 0), (x, high)], lit)
        pen.shape([(x - pen.sun * half, 0), (ridge, -0.04), (x, high)], dark)
        for course in range(1, 9):
            y = high * course / 9
            left, right = x - half * (1 - y / high), x + half * (1 - y / high)
            pen.line([(left, y), (right, y)], 0.012, shade(stone, -0.2))
    pen.shape([(-0.07, 0), (0.07, 0), (0.05, 0.16), (-0.05, 0.16)], shade(stone, -0.6))


def domed_temple(pen: Pen, rng: random.Random) -> None:
    """Draw a temple with columns and a great dome."""
    stone, roof = rng.choice(MATERIALS), rng.choice((*ACCENTS, *MATERIALS))
    half, columns = rng.uniform(0.85, 1.05), rng.choice((6, 8))
    if rng.random() < 0.5:
        for x in (-half - 0.22, half + 0.22):
            pen.block(x - 0.07, x + 0.07, 0, 1.3, shade(stone, 0.05), taper=0.015)
            pen.oval((x, 1.3), 0.1, 0.16, roof, (0, 180))
    for step in range(3):
        pen.block(-half - 0.18 + step * 0.06, half + 0.18 - step * 0.06, step * 0.05, step * 0.05 + 0.05, stone)
    pen.block(-half, half, 0.15, 0.75, shade(stone, -0.3))
    for column in range(columns):
        x = -half + 0.08 + (2 * half - 0.16) * column / (columns - 1)
        pen.block(x - 0.06, x + 0.06, 0.15, 0.7, shade(stone, 0.1))
    pen.block(-half - 0.05, half + 0.05, 0.7, 0.82, shade(stone, 0.05))
    drum = half * rng.uniform(0.55, 0.66)
    pen.block(-drum, drum, 0.82, 1.05, stone)
    for x in np.linspace(-drum * 0.75, drum * 0.75, 5):
        pen.shape(_window(x, 0.88, 0.035, 0.12), GLASS)
    rise = drum * rng.uniform(0.95, 1.2)
    pen.oval((0, 1.05), drum * 0.96, rise, roof, (0, 180))
    pen.oval((pen.sun * drum * 0.3, 1.08), drum * 0.5, rise * 0.8, shade(roof, 0.2), (0, 180))
    for share in (-0.55, 0.0, 0.55):
        rib = [(drum * 0.96 * share * math.cos(a), 1.05 + rise * math.sin(a)) for a in np.linspace(0, 1.57, 12)]
        pen.line(rib, 0.018, shade(roof, -0.25))
    pen.block(-0.06, 0.06, 1.03 + rise, 1.16 + rise, stone)
    pen.line([(0, 1.16 + rise), (0, 1.34 + rise)], 0.025, shade(roof, -0.3))


def snow_mountain(pen: Pen, rng: random.Random) -> None:
    """Draw a steep peak with snow on top."""
    rock = mix(rng.choice(MATERIALS), (84, 90, 104), rng.uniform(0.4, 0.8))
    for x, size in [*((rng.uniform(-1.6, 1.6), rng.uniform(0.5, 0.72)) for _ in range(3)), (0.0, 1.0)]:
        high, half = 1.9 * size, 1.6 * size
        lean = rng.uniform(-0.15, 0.15)
        left, right = _ridge((x - half, 0), (x + lean, high), rng), _ridge((x + lean, high), (x + half, 0), rng)
        body = shade(mix(rock, pen.mood.horizon, 0.35 * (1 - size)), 0.05)
        pen.shape(left + right, body)
        fall = _ridge((x + lean, high), (x - pen.sun * half * 0.25, 0), rng)
        far = right if pen.sun < 0 else left
        pen.shape([*fall, *(far[::-1] if pen.sun < 0 else far)], shade(body, -0.28))
        line = high * rng.uniform(0.55, 0.7)
        peak = [point for point in left + right if point[1] > line]
        edge = np.linspace(peak[-1][0], peak[0][0], 9)
        snow = peak + [(u, line + rng.uniform(-0.16, 0.1) * size) for u in edge]
        pen.shape(snow, (240, 243, 248))
        dark = [point for point in snow if (point[0] - x - lean) * pen.sun <= 0]
        if len(dark) > 2:
            pen.shape([*dark, (x + lean, line)], (198, 208, 226))


def ferris_wheel(pen: Pen, rng: random.Random) -> None:
    """Draw a great wheel with cabins on two legs."""
    steel, colour = rng.choice(((232, 232, 236), (150, 156, 166), *ACCENTS)), rng.choice(ACCENTS)
    middle, radius = (0.0, 1.08), rng.uniform(0.82, 0.92)
    for reach in (-0.5, 0.5):
        pen.line([(reach, 0), middle], 0.06, shade(steel, -0.2))
    spokes, turn = rng.choice((12, 16)), rng.random()
    for spoke in range(spokes):
        angle = 2 * math.pi * (spoke + turn) / spokes
        tip = (middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))
        pen.line([middle, tip], 0.014, steel)
    for share, width in ((1.0, 0.04), (0.86, 0.025)):
        pen.line(curve(middle, radius * share, radius * share), width, steel)
    for spoke in range(spokes):
        angle = 2 * math.pi * (spoke + turn) / spokes
        x, y = middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)
        pen.oval((x, y - 0.05), 0.065, 0.075, colour if spoke % 2 else shade(colour, 0.35))
    pen.oval(middle, 0.09, 0.09, shade(steel, -0.3))
    pen.block(-0.65, 0.65, -0.04, 0.09, rng.choice(MATERIALS))


def lighthouse(pen: Pen, rng: random.Random) -> None:
    """Draw a banded lighthouse on rocks."""
    wall, band = rng.choice(((240, 238, 232), *MATERIALS)), rng.choice(ACCENTS)
    bands, foot, head = rng.choice((4, 5, 6)), rng.uniform(0.28, 0.36), 0.17
    rocks = [(x, rng.uniform(0.08, 0.26)) for x in np.linspace(-0.9, 0.9, 9)]
    if rng.random() < 0.6:
        side = rng.choice((-1, 1))
        pen.block(side * 0.55 - 0.28, side * 0.55 + 0.28, 0.1, 0.42, wall)
        pen.shape([(side * 0.55 - 0.33, 0.42), (side * 0.55 + 0.33, 0.42), (side * 0.55, 0.64)], band)
    for piece in range(bands):
        low, high = 1.45 * piece / bands, 1.45 * (piece + 1) / bands
        wide = foot + (head - foot) * piece / bands
        colour = band if piece % 2 else wall
        pen.block(-wide, wide, 0.1 + low, 0.1 + high, colour, taper=(foot - head) / bands)
    pen.shape([(-1.1, -0.1), (-1.0, 0.02), *rocks, (1.0, 0.02), (1.1, -0.1)], (96, 88, 82))
    pen.block(-head - 0.09, head + 0.09, 1.55, 1.61, shade(band, -0.3))
    pen.block(-head * 0.7, head * 0.7, 1.61, 1.84, (250, 226, 148))
    for x in (-head * 0.7, 0.0, head * 0.7):
        pen.line([(x, 1.61), (x, 1.84)], 0.022, GLASS)
    pen.oval((0, 1.84), head * 0.85, 0.17, band, (0, 180))


def pagoda(pen: Pen, rng: random.Random) -> None:
    """Draw a pagoda with curved roofs, one above the other."""
    wall, roof = rng.choice((*MATERIALS, (168, 60, 48))), rng.choice(ACCENTS)
    floors = rng.choice((3, 4, 5))
    step, wide = 1.75 / floors, rng.uniform(0.5, 0.6)
    pen.block(-wide - 0.15, wide + 0.15, -0.02, 0.07, (176, 170, 160))
    for floor in range(floors):
        low, half = 0.07 + step * floor, wide * (1 - 0.55 * floor / floors)
        eaves, rise = half + 0.26, step * 0.4
        pen.block(-half * 0.8, half * 0.8, low, low + step * 0.65, wall)
        for x in np.linspace(-half * 0.55, half * 0.55, 3):
            pen.shape(_window(x, low + step * 0.1, 0.05, step * 0.32), GLASS)
        under = low + step * 0.55
        sweep = [(eaves * u, under + 0.1 * abs(u) ** 3) for u in np.linspace(-1, 1, 17)]
        crown = [
            (eaves * u, under + 0.1 * abs(u) ** 3 + rise * (1 - abs(u)) ** 0.8) for u in np.linspace(1, -1, 17)
        ]
        pen.shape(sweep + crown, roof)
        pen.shape([p for p in crown if p[0] * pen.sun >= 0] + [(0, under + 0.04)], shade(roof, 0.16))
        pen.line(sweep, 0.025, shade(roof, -0.4))
    pen.line([(0, 1.75), (0, 2.15)], 0.035, shade(roof, -0.2))


def _window(x: float, low: float, half: float, high: float) -> list[Point]:
    return [(x - half, low), (x + half, low), *curve((x, low + high), half, half, (0, 180))]


def _ridge(start: Point, end: Point, rng: random.Random) -> list[Point]:
    inner = [
        (
            start[0] + (end[0] - start[0]) * u + rng.gauss(0, 0.03),
            start[1] + (end[1] - start[1]) * u + rng.gauss(0, 0.04),
        )
        for u in np.linspace(0.12, 0.88, 7)
    ]
    return [start, *inner, end]


LANDMARKS: tuple[tuple[str, Callable[[Pen, random.Random], None]], ...] = (
    ("Clock_Tower", clock_tower),
    ("Arch_Bridge", arch_bridge),
    ("Pyramid", pyramid),
    ("Domed_Temple", domed_temple),
    ("Snow_Mountain", snow_mountain),
    ("Ferris_Wheel", ferris_wheel),
    ("Lighthouse", lighthouse),
    ("Pagoda", pagoda),
)
