"""Draws docs/images/overview.png, the picture of the README, and the pictures of docs/examples.

All of them show drawn scenes, because photos of places belong to somebody.

Run `make train`, then `.venv/bin/python docs/pictures.py build/drawn build/runs/models/transfer`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landmarks.imaging.preprocessing import prepare
from landmarks.model.recognizer import Recognizer
from landmarks.training.config.settings import AugmentSettings, DataSettings
from landmarks.training.data.augment import TrainTransform
from landmarks.training.data.loaders import EvalTransform, prepare_data
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.plots import save_figure

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from drawn import draw_scene

TARGET = Path(__file__).parent / "images" / "overview.png"
EXAMPLES = {
    "pyramid.jpg": ("Pyramid", "0-train-Pyramid-33"),
    "lighthouse.jpg": ("Lighthouse", "0-train-Lighthouse-5"),
}
"""Example -> landmark and seed; the bundled model recognises the first as a known place, and not the second."""


def draw_examples(folder: Path) -> None:
    for name, (landmark, seed) in EXAMPLES.items():
        draw_scene(landmark, random.Random(seed)).save(folder / name, quality=88)


def draw_training(axes: list[list[Axes]], data: Path) -> None:
    prepared = prepare_data(data, DataSettings())
    plain = EvalTransform(prepared.preprocessing)
    augment = TrainTransform(AugmentSettings(sizes=(224,)), 224, prepared.preprocessing)
    names = display_names(prepared.folder.classes)
    torch.manual_seed(3)
    step = len(prepared.folder.train) // len(axes[0])
    for column, sample in enumerate(prepared.folder.train[::step][: len(axes[0])]):
        picture = prepared.cache.picture(sample.path)
        axes[0][column].imshow(plain.crop(picture))
        axes[0][column].set_title(names[prepared.folder.classes[sample.label]], fontsize=8)
        axes[1][column].imshow(augment(picture).permute(1, 2, 0).numpy())
    for row, text in zip(axes, ("training picture", "as training sees it"), strict=True):
        row[0].set_ylabel(text, fontsize=8)


def draw_answer(photo_axes: Axes, bar_axes: Axes, photo: Path, recognizer: Recognizer) -> None:
    photo_axes.imshow(prepare(photo, recognizer.info.preprocessing))
    answer = next(iter(recognizer.recognize([photo], top=3)))
    names = display_names([candidate.class_name for candidate in answer.candidates])
    labels = [names[candidate.class_name] for candidate in answer.candidates]
    bars = bar_axes.barh(labels[::-1], [c.probability for c in answer.candidates][::-1], color="#3b6ea5")
    bar_axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    bar_axes.set_xlim(0, 1.2)
    bar_axes.set_xticks([])
    bar_axes.tick_params(length=0, labelsize=8)
    for side in ("top", "right", "bottom", "left"):
        bar_axes.spines[side].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    columns = 6
    grid = top.subplots(2, columns)
    draw_training([list(row) for row in grid], given.data)
    recognizer = Recognizer(given.model)
    photos = sorted((given.data / "test").glob("*/*"))
    cells = bottom.subplots(1, 4, width_ratios=(1, 1.6, 1, 1.6))
    bottom.suptitle("a new picture, and what the trained model says", fontsize=8)
    for place, photo in enumerate((photos[1], photos[len(photos) // 2])):
        draw_answer(cells[2 * place], cells[2 * place + 1], photo, recognizer)
    for axes in [*grid.flat, cells[0], cells[2]]:
        axes.set_xticks([])
        axes.set_yticks([])
    save_figure(figure, TARGET)
    draw_examples(TARGET.parents[1] / "examples")


if __name__ == "__main__":
    main()
