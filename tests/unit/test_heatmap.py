"""The heat map: it highlights the landmark, and its image has a caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import COLOURS, CROP, make_model

from landmarks.errors import StorageError
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.folder import find_model
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.heatmap import Heatmap, draw_heatmap, occlusion_heatmap, overlaid, save_heatmap

TOWER = "07.Eiffel_Tower"
QUADRANTS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer(make_model(tmp_path_factory.mktemp("models") / "colours"))


def in_quadrant(small: np.ndarray, row: int, column: int, canvas: np.ndarray) -> np.ndarray:
    half = len(canvas) // 2
    picture = canvas.copy()
    picture[row * half : (row + 1) * half, column * half : (column + 1) * half] = small
    return picture


def quadrant_of(heat: np.ndarray, row: int, column: int) -> np.ndarray:
    half = len(heat) // 2
    return heat[row * half : (row + 1) * half, column * half : (column + 1) * half]


@pytest.mark.parametrize(("row", "column"), QUADRANTS)
def test_the_heat_lies_on_what_was_drawn(colours: Recognizer, row: int, column: int) -> None:
    grey = np.full((CROP, CROP, 3), COLOURS["background"], dtype=np.uint8)
    red = np.full((CROP // 2, CROP // 2, 3), COLOURS[TOWER], dtype=np.uint8)
    found = occlusion_heatmap(colours, in_quadrant(red, row, column, grey), TOWER)
    assert found.heat.shape == (CROP, CROP)
    assert (found.heat.min(), found.heat.max()) == (pytest.approx(0, abs=0.2), 1)
    assert quadrant_of(found.heat, row, column).mean() > 3 * found.heat.mean() / 2
    assert quadrant_of(found.heat, row, column).max() == 1
    assert found.covered < found.probability


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "where"), [("32.Sydney_Opera_House", (0, 1)), ("10.Golden_Gate_Bridge", (1, 0))]
)
def test_the_heat_lies_on_a_real_landmark(shared_data: Path, folder: str, where: tuple[int, int]) -> None:
    recognizer = Recognizer(find_model("world"))
    class_name = next(name for name in recognizer.info.classes if name.endswith(folder[3:]))
    preprocessing = recognizer.info.preprocessing
    half = preprocessing.crop // 2
    noise = np.random.default_rng(1).normal(150, 6, (2 * half, 2 * half, 3)).clip(0, 255).astype(np.uint8)
    for photo in sorted((shared_data / "world34" / "test" / folder).iterdir())[:8]:
        small = Image.fromarray(prepare(photo, preprocessing)).resize((half, half), Image.Resampling.LANCZOS)
        picture = in_quadrant(np.asarray(small), *where, noise)
        if recognizer.answer(picture[None]).probabilities[0, recognizer.info.classes.index(class_name)] > 0.5:
            break
    else:
        pytest.skip("no picture of the eight is known at half its size")
    heat = occlusion_heatmap(recognizer, picture, class_name).heat
    hottest = heat >= 0.75
    assert quadrant_of(hottest, *where).sum() / hottest.sum() > 0.8
    assert quadrant_of(heat, *where).max() == 1
    # The patch is a third of the side, so the heat of an edge reaches a little over it.
    assert quadrant_of(heat, *where).sum() / heat.sum() > 0.4


def test_a_picture_in_which_no_part_decides_has_no_heat(colours: Recognizer) -> None:
    grey = np.full((CROP, CROP, 3), np.round(255 * np.array(Preprocessing().mean)), dtype=np.uint8)
    assert not occlusion_heatmap(colours, grey, TOWER).heat.any()


def test_a_class_that_the_model_lacks_is_refused(colours: Recognizer) -> None:
    with pytest.raises(ValueError, match="not in"):
        occlusion_heatmap(colours, np.zeros((CROP, CROP, 3), dtype=np.uint8), "Atlantis")


@pytest.mark.parametrize("size", [(1, 1), (60, 40), (40, 60), (3000, 50), (1600, 1200)])
def test_photos_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    heatmap = Heatmap(np.linspace(0, 1, CROP * CROP).reshape(CROP, CROP), 0.9, 0.1)
    drawn = draw_heatmap(Image.new("RGB", size, (9, 99, 199)), heatmap, Preprocessing(), "Hội An 97% \U0001f5fc")
    assert drawn.mode == "RGB"
    assert drawn.width < 2000
    assert drawn.height < 600


def test_the_photo_stands_left_and_the_unseen_is_dark_on_the_right() -> None:
    heatmap = Heatmap(np.zeros((CROP, CROP)), 0.9, 0.9)
    drawn = np.asarray(draw_heatmap(Image.new("RGB", (400, 200), (90, 150, 210)), heatmap, Preprocessing(), "x"))
    row = drawn[-100].tolist()  # through the middle of both
    assert row[20] == [90, 150, 210]
    left = row.index([90, 150, 210])
    other = left + 400 + left
    assert row[other + 5] == [27, 45, 63]
    assert row[other + 200] != [27, 45, 63]


def test_of_a_network_that_sees_the_whole_photo_nothing_is_dark() -> None:
    heatmap = Heatmap(np.zeros((CROP, CROP)), 0.9, 0.9)
    whole = Preprocessing(resize=CROP, crop=CROP, fit="squash")
    row = np.asarray(overlaid(Image.new("RGB", (400, 200), (90, 150, 210)), heatmap, whole))[100].tolist()
    assert row[5] == row[200] == row[395] != [27, 45, 63]


def test_a_picture_is_written_whole_or_told(colours: Recognizer, tmp_path: Path) -> None:
    photo = tmp_path / "café \U0001f5fc.png"
    Image.new("RGB", (64, 48), COLOURS[TOWER]).save(photo)
    out = tmp_path / "why" / "a.png"
    save_heatmap(out, photo, colours, TOWER, "Eiffel Tower 99.0%")
    with Image.open(out) as image:
        assert image.format == "PNG"
    assert [path.name for path in out.parent.iterdir()] == ["a.png"]
    with pytest.raises(StorageError):
        save_heatmap(photo / "a.png", photo, colours, TOWER, "x")
