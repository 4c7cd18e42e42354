"""Draw a small data set of landmark scenes: synthetic, free to use, and learned in a minute.

Every picture is a scene of its own. Sky, light, ground, material, place, size, tilt, clutter and noise are drawn
at random; only the shape of the landmark tells its class.

    python tests/drawn.py FOLDER --classes 8
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawn_landmarks import ACCENTS, LANDMARKS, Mood, Pen, mix, shade
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

FINE = 2  # pictures are drawn this much larger and scaled down, for smooth edges

GROUNDS = ((108, 136, 74), (196, 174, 126), (128, 124, 118), (92, 112, 66), (156, 132, 98))
MOODS = (
    Mood((82, 142, 206), (198, 220, 236), (255, 255, 255), 1.0),
    Mood((116, 168, 214), (228, 232, 228), (255, 250, 240), 1.05),
    Mood((150, 162, 174), (206, 210, 212), (240, 244, 250), 0.88),
    Mood((86, 92, 142), (244, 176, 122), (255, 214, 178), 0.85),
    Mood((38, 50, 96), (132, 126, 164), (204, 208, 240), 0.74),
)


def paint_sky(width: int, height: int, mood: Mood, rng: random.Random) -> Image.Image:
    """Paint the sky: a gradient, sun or moon, and clouds."""
    column = np.linspace(mood.top, mood.horizon, num=height)[:, None]
    sky = Image.fromarray(np.broadcast_to(column, (height, width, 3)).astype(np.uint8))
    veil = Image.new("L", sky.size, 0)
    draw = ImageDraw.Draw(veil)
    for _ in range(rng.randint(0, 4)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height * 0.5), rng.uniform(0.05, 0.14) * width
        for _ in range(7):
            cx, cy, r = x + rng.gauss(0, size), y + rng.gauss(0, size * 0.18), size * rng.uniform(0.25, 0.6)
            draw.ellipse([cx - r, cy - r * 0.55, cx + r, cy + r * 0.55], fill=rng.randint(120, 210))
    veil = veil.filter(ImageFilter.GaussianBlur(width * 0.012))
    sky.paste(mix(mood.horizon, (255, 255, 255), 0.5), mask=veil)
    if rng.random() < 0.4:
        x, y, r = rng.uniform(0, width), rng.uniform(0, height * 0.4), width * rng.uniform(0.02, 0.04)
        ImageDraw.Draw(sky).ellipse([x - r, y - r, x + r, y + r], fill=mix(mood.horizon, (255, 246, 214), 0.8))
    return sky


def paint_ground(image: Image.Image, horizon: float, mood: Mood, rng: random.Random) -> None:
    """Paint far hills or roofs on the horizon and the ground below it."""
    width, height = image.size
    pen = Pen(image, (0, horizon), 1, 0, mood, 1)
    earth = rng.choice(GROUNDS)
    far = mix(shade(earth, -0.2), mood.horizon, 0.5)
    if rng.random() < 0.6:
        waves = [(rng.uniform(1, 4), rng.uniform(0, 6.3), rng.uniform(0.01, 0.04) * height) for _ in range(3)]
        xs = np.linspace(0, width, 40)
        hills = [(x, 0.05 * height + sum(a * math.sin(f * x / width * 3 + p) for f, p, a in waves)) for x in xs]
        pen.shape([(0, 0), *hills, (width, 0)], far)
    else:
        x = 0.0
        while x < width:
            wide, high = rng.uniform(0.04, 0.11) * width, rng.uniform(0.02, 0.11) * height
            pen.shape([(x, 0), (x + wide, 0), (x + wide, high), (x, high)], shade(far, rng.uniform(-0.1, 0.1)))
            x += wide
    pen.shape([(0, 0), (width, 0), (width, -height), (0, -height)], earth)
    for _ in range(60):
        depth = rng.random() ** 0.7
        x, y, r = rng.uniform(0, width), -depth * (height - horizon), (0.004 + 0.03 * depth) * width
        pen.oval((x, y), r * 2.2, r * 0.35, shade(earth, rng.uniform(-0.14, 0.12)))


def paint_clutter(image: Image.Image, horizon: float, mood: Mood, sun: int, rng: random.Random) -> None:
    """Paint what stands in the way: trees, people, lamps and birds."""
    width, height = image.size
    for _ in range(rng.randint(0, 5)):
        x, y, span = rng.uniform(0, width), rng.uniform(0.05, 0.5) * height, rng.uniform(0.006, 0.016) * width
        wing = [(x - span, y - span * 0.4), (x, y), (x + span, y - span * 0.4)]
        ImageDraw.Draw(image).line(wing, fill=(52, 54, 62), width=2)
    things = [rng.choice((_tree, _tree, _person, _person, _lamp)) for _ in range(rng.randint(1, 6))]
    for depth, thing in sorted((rng.random(), i) for i in range(len(things))):
        foot = (rng.uniform(0, width), horizon + (height - horizon) * (0.1 + 0.85 * depth))
        things[thing](Pen(image, foot, height * (0.07 + 0.11 * depth), 0, mood, sun), rng)


def _tree(pen: Pen, rng: random.Random) -> None:
    leaf = rng.choice(((62, 96, 52), (84, 112, 58), (48, 82, 60), (140, 106, 52)))
    pen.line([(0, 0), (0, 0.7)], 0.12, (88, 66, 48))
    if rng.random() < 0.35:
        for low in (0.4, 0.8, 1.2):
            pen.shape([(-0.55 + low * 0.25, low), (0.55 - low * 0.25, low), (0, low + 0.75)], leaf)
        return
    for _ in range(9):
        x, y, r = rng.gauss(0, 0.28), 1.05 + rng.gauss(0, 0.22), rng.uniform(0.2, 0.36)
        pen.oval((x, y), r, r, shade(leaf, rng.uniform(-0.2, 0.06) + 0.12 * pen.sun * x))


def _person(pen: Pen, rng: random.Random) -> None:
    coat = rng.choice((*ACCENTS, (210, 206, 198), (58, 62, 74)))
    pen.shape([(-0.13, 0), (0.13, 0), (0.1, 0.5), (-0.1, 0.5)], (58, 58, 70))
    pen.shape([(-0.14, 0.4), (0.14, 0.4), (0.12, 0.9), (-0.12, 0.9)], coat)
    pen.oval((0, 1.02), 0.1, 0.12, rng.choice(((224, 188, 158), (150, 108, 82), (96, 68, 52))))


def _lamp(pen: Pen, rng: random.Random) -> None:
    pen.line([(0, 0), (0, 1.9)], 0.05, (56, 58, 62))
    pen.oval((0, 1.95), 0.12, 0.15, (246, 234, 190) if rng.random() < 0.5 else (200, 200, 196))


def draw_scene(name: str, rng: random.Random, side: int = 160) -> Image.Image:
    """Draw one picture.

    Args:
        name: Name of the landmark, one of `LANDMARKS`.
        rng: Random numbers for everything but the landmark.
        side: Shorter side in pixels; the other is up to 1.4 times as long.
    """
    longer = round(side * rng.uniform(1, 1.4))
    size = (longer, side) if rng.random() < 0.7 else (side, longer)
    width, height = size[0] * FINE, size[1] * FINE
    mood, sun = rng.choice(MOODS), rng.choice((-1, 1))
    horizon = height * rng.uniform(0.62, 0.78)
    image = paint_sky(width, height, mood, rng)
    paint_ground(image, horizon, mood, rng)
    unit = min(width * 0.36, height * 0.3) * rng.uniform(0.72, 1.12)
    foot = (width * rng.uniform(0.34, 0.66), horizon + height * rng.uniform(0.03, 0.1))
    dict(LANDMARKS)[name](Pen(image, foot, unit, math.radians(rng.gauss(0, 2.5)), mood, sun), rng)
    paint_clutter(image, foot[1], mood, sun, rng)
    return develop(image.resize(size, Image.Resampling.LANCZOS), rng)


def develop(image: Image.Image, rng: random.Random) -> Image.Image:
    """Make a drawing a little like a photo: exposure, contrast, colour, blur and noise."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.84, 1.2))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 8), pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def draw_dataset(
    root: Path,
    *,
    classes: int = 4,
    train_per_class: int = 12,
    test_per_class: int = 4,
    seed: int = 0,
    side: int = 160,
) -> None:
    """Draw a data set: `root/train/NN.Name/NNN.jpg` and `root/test/NN.Name/NNN.jpg`.

    A picture depends on the seed, its split, class and number alone, so a larger set holds the smaller one.

    Args:
        root: Folder to make.
        classes: Number of landmarks, from 2 to 8.
        train_per_class: Pictures of each in `train/`.
        test_per_class: Pictures of each in `test/`.
        seed: Seed of all random choices.
        side: Shorter side of a picture in pixels.

    Raises:
        ValueError: `classes` is out of range.
    """
    if not 2 <= classes <= len(LANDMARKS):
        raise ValueError(f"classes must be from 2 to {len(LANDMARKS)}, not {classes}")
    for split, count in (("train", train_per_class), ("test", test_per_class)):
        for label, (name, _) in enumerate(LANDMARKS[:classes]):
            folder = root / split / f"{label:02d}.{name}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = random.Random(f"{seed}-{split}-{name}-{number}")
                draw_scene(name, rng, side).save(folder / f"{number:03d}.jpg", quality=rng.randint(80, 92))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the data set that the command line asks for."""
    parser = argparse.ArgumentParser(description="Draw a small data set of landmark scenes.")
    parser.add_argument("folder", type=Path, help="folder to make")
    parser.add_argument("--classes", type=int, default=4, choices=range(2, len(LANDMARKS) + 1), metavar="2..8")
    parser.add_argument("--train", type=int, default=12, help="training pictures per class (default 12)")
    parser.add_argument("--test", type=int, default=4, help="test pictures per class (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (default 0)")
    parser.add_argument("--side", type=int, default=160, help="shorter side in pixels (default 160)")
    asked = parser.parse_args(arguments)
    draw_dataset(
        asked.folder,
        classes=asked.classes,
        train_per_class=asked.train,
        test_per_class=asked.test,
        seed=asked.seed,
        side=asked.side,
    )


if __name__ == "__main__":
    main()
