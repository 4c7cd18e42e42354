"""Heat maps: which parts of a photo an answer depends on, found by hiding one part after another.

Occlusion sensitivity (M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
2014, https://arxiv.org/abs/1311.2901) needs only the network's outputs. So it works with every model folder,
including the bundled int8 one, for which methods that need gradients, such as Grad-CAM, are impossible.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from landmarks.files.atomic import atomic_path
from landmarks.imaging.decoding import load_image
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.recognizer import Recognizer

GRID = 12
"""Patch positions per side: 144 more forward passes per photo."""

PATCH = 1 / 3
"""Side of the patch as a fraction of the crop; smaller ones hide too little and show the network's own noise."""

_BATCH = 12
_FLAT = 0.1  # a smaller drop of the log-odds is not coloured
_SHOWN = (480, 400)  # maximum width and height of the photo in the output
_MARGIN = 12
_TITLE, _SMALL = 20, 14
_INK, _PAPER = (32, 32, 32), (255, 255, 255)
# From dark over red and yellow to white, distinguishable in greyscale too.
_HEAT = ((0.0, (40, 0, 60)), (0.4, (190, 20, 40)), (0.75, (255, 160, 0)), (1.0, (255, 255, 200)))


@dataclass(frozen=True)
class Heatmap:
    """The parts of a photo that an answer depends on.

    Attributes:
        heat: (crop, crop) float64, over the part of the photo that the network sees. Each value is the mean drop
            of the log-odds of the class over the patches that covered this pixel, scaled to a maximum of 1; all 0
            if hiding changes nothing.
        probability: Probability of the class with nothing hidden, before GPS is used.
        covered: Probability of the class with the most important patch hidden.
    """

    heat: NDArray[np.float64]
    probability: float
    covered: float


def occlusion_heatmap(recognizer: Recognizer, picture: NDArray[np.uint8], class_name: str) -> Heatmap:
    """Hide one part of an image after another and measure the effect on a class.

    The effect is measured on the log-odds: the probability of a confident network stays near 1 whatever is hidden.

    Args:
        recognizer: The model.
        picture: (crop, crop, 3), from `landmarks.imaging.preprocessing.prepare`.
        class_name: One of the model's classes.

    Raises:
        ValueError: The model has no such class.
    """
    label = recognizer.info.classes.index(class_name)
    crop = len(picture)
    boxes = list(_boxes(crop))
    whole = recognizer.answer(picture[None])
    odds, probabilities = [], []
    for start in range(0, len(boxes), _BATCH):
        some = boxes[start : start + _BATCH]
        answers = recognizer.answer(_hide(picture, some, recognizer.info.preprocessing))
        odds.append(_log_odds(answers.logits, label))
        probabilities.append(answers.probabilities[:, label])
    falls = np.maximum(_log_odds(whole.logits, label) - np.concatenate(odds), 0)
    heat, times = np.zeros((crop, crop)), np.zeros((crop, crop))
    for (rows, columns), fall in zip(boxes, falls, strict=True):
        heat[rows, columns] += fall
        times[rows, columns] += 1
    heat /= times
    heat = heat / heat.max() if falls.max() > _FLAT else np.zeros_like(heat)
    return Heatmap(heat, float(whole.probabilities[0, label]), float(np.concatenate(probabilities).min()))


def _boxes(crop: int) -> Iterator[tuple[slice, slice]]:
    """Yield the patch positions, row by row; at the edges the patch is cut off."""
    half = crop * PATCH / 2
    centers = (np.arange(GRID) + 0.5) * crop / GRID
    spans = [slice(max(round(c - half), 0), min(round(c + half), crop)) for c in centers.tolist()]
    for rows in spans:
        for columns in spans:
            yield rows, columns


def _hide(
    picture: NDArray[np.uint8], boxes: list[tuple[slice, slice]], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    batch = np.repeat(picture[None], len(boxes), axis=0)
    # The mean colour becomes 0 after normalisation, which carries no information.
    nothing = np.array([round(255 * mean) for mean in preprocessing.mean], dtype=np.uint8)
    for hidden, (rows, columns) in zip(batch, boxes, strict=True):
        hidden[rows, columns] = nothing
    return batch


def _log_odds(logits: NDArray[np.float32], label: int) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of a class for each row, at temperature 1."""
    wide = logits.astype(np.float64)
    result: NDArray[np.float64] = wide[:, label] - np.logaddexp.reduce(np.delete(wide, label, axis=1), axis=1)
    return result


def save_heatmap(path: Path, photo: Path, recognizer: Recognizer, class_name: str, title: str) -> Heatmap:
    """Write a PNG that shows a photo beside the heat map of an answer.

    Args:
        path: The PNG, written atomically; its folder is created.
        photo: The photo.
        recognizer: The model.
        class_name: The class to explain, one of the model's classes.
        title: Heading, such as the landmark's name and probability.

    Raises:
        ImageError: The photo cannot be read.
        StorageError: The PNG cannot be written.
        ValueError: The model has no such class.
    """
    preprocessing = recognizer.info.preprocessing
    limits = recognizer.limits
    heatmap = occlusion_heatmap(recognizer, prepare(photo, preprocessing, limits), class_name)
    shown = load_image(photo, min_side=min(_SHOWN), limits=limits)
    drawn = draw_heatmap(shown, heatmap, preprocessing, title)
    with atomic_path(path) as temporary:
        drawn.save(temporary, "PNG")
    return heatmap


def draw_heatmap(image: Image.Image, heatmap: Heatmap, preprocessing: Preprocessing, title: str) -> Image.Image:
    """Draw a photo beside a copy with the heat map over it; the part outside the network's crop is darkened.

    Args:
        image: The upright photo, RGB.
        heatmap: Heat map of this photo.
        preprocessing: Defines which part of the photo the network sees.
        title: Heading.
    """
    shown = image.copy()
    shown.thumbnail(_SHOWN)
    seen = _seen(shown.size, preprocessing)
    width, height = shown.size
    lines = [(title, _TITLE), (_sentence(heatmap), _SMALL)]
    fonts = [ImageFont.load_default(size) for _, size in lines]
    texts = [_in_font(text, font) for (text, _), font in zip(lines, fonts, strict=True)]
    head = sum(size + 8 for _, size in lines)
    inner = max(2 * width + _MARGIN, *(int(font.getlength(t)) for t, font in zip(texts, fonts, strict=True)))
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, head + height + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for text, font, (_, size) in zip(texts, fonts, lines, strict=True):
        draw.text((_MARGIN, top), text, fill=_INK, font=font)
        top += size + 8
    sheet.paste(shown, (_MARGIN, top))
    sheet.paste(_overlaid(shown, heatmap.heat, seen), (2 * _MARGIN + width, top))
    return sheet


def overlaid(image: Image.Image, heatmap: Heatmap, preprocessing: Preprocessing) -> Image.Image:
    """Return a photo with its heat map over it; the part outside the network's crop is darkened.

    Args:
        image: The upright photo, RGB.
        heatmap: Heat map of this photo.
        preprocessing: Defines which part of the photo the network sees.
    """
    return _overlaid(image, heatmap.heat, _seen(image.size, preprocessing))


def _sentence(heatmap: Heatmap) -> str:
    if not heatmap.heat.any():
        return "hiding any one part changes nothing: no place in the photo decides alone"
    change = f"takes it from {heatmap.probability:.1%} to {heatmap.covered:.1%}"
    return f"bright: what speaks for the answer; hiding the part that matters most {change}"


def _seen(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Return the box of a photo that the network sees: left, top, right, bottom."""
    if preprocessing.fit == "squash":
        return 0, 0, *size
    side = max(1, round(min(size) * preprocessing.crop / preprocessing.resize))
    left, top = ((length - side) // 2 for length in size)
    return left, top, left + side, top + side


def _overlaid(shown: Image.Image, heat: NDArray[np.float64], seen: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = seen
    places = Image.fromarray((heat * 255).astype(np.uint8)).resize((GRID, GRID), Image.Resampling.BOX)
    smooth = places.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    values = np.asarray(smooth, dtype=np.float64) / 255
    stops = [stop for stop, _ in _HEAT]
    colours = np.stack([np.interp(values, stops, [c[i] for _, c in _HEAT]) for i in range(3)], axis=-1)
    # Cold areas keep some of the photo's brightness, so that they stay recognisable.
    weight = (0.35 + 0.35 * values)[..., None]
    picture = np.asarray(shown, dtype=np.float64)
    result = picture * 0.3
    result[top:bottom, left:right] = picture[top:bottom, left:right] * (1 - weight) + colours * weight
    return Image.fromarray(result.round().astype(np.uint8))


def _in_font(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text with characters missing from the built-in font unaccented, or as question marks."""
    missing = bytes(font.getmask("\uffff"))

    def has(character: str) -> bool:
        return character.isspace() or bytes(font.getmask(character)) != missing

    spelt = []
    for character in unicodedata.normalize("NFC", text):
        plain = unicodedata.normalize("NFD", character)[0]
        spelt.append(next((c for c in (character, plain) if has(c)), "?"))
    return "".join(spelt)
