"""Matching local features, and re-ranking search results by them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_scene
from PIL import Image

from landmarks.errors import ImageError
from landmarks.search.rerank import ENOUGH, LEAST, count_inliers, local_features, raised, rerank
from landmarks.search.searcher import Match


def save(path: Path, image: Image.Image) -> Path:
    image.save(path, quality=85)
    return path


def seen_from_beside(image: Image.Image) -> Image.Image:
    """The picture as its plane looks from another place, smaller and darker."""
    width, height = image.size
    corners = (-0.05 * width, 0, 0, height, width, height * 1.08, width * 1.04, -0.06 * height)
    turned = image.transform((width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    return turned.resize((width * 4 // 5, height * 4 // 5)).point(lambda value: value * 0.8)


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    scene = draw_scene("Clock_Tower", random.Random(1), side=400)
    other = draw_scene("Arch_Bridge", random.Random(2), side=400)
    return {
        "scene": save(tmp_path / "scene.jpg", scene),
        "beside": save(tmp_path / "beside.jpg", seen_from_beside(scene)),
        "other": save(tmp_path / "other.jpg", other),
        "flat": save(tmp_path / "flat.jpg", Image.new("RGB", (300, 200), (90, 90, 90))),
    }


def test_two_views_share_points_and_two_scenes_do_not(photos: dict[str, Path]) -> None:
    features = {name: local_features(path) for name, path in photos.items()}
    assert count_inliers(features["scene"], features["beside"]) >= LEAST
    assert count_inliers(features["scene"], features["other"]) < LEAST
    assert count_inliers(features["scene"], features["flat"]) == 0
    assert len(features["flat"].points) == 0
    assert np.linalg.norm(features["scene"].descriptors, axis=1) == pytest.approx(1, abs=1e-3)


def test_the_other_view_comes_first_and_what_is_broken_keeps_its_place(photos: dict[str, Path]) -> None:
    broken = photos["flat"].with_name("broken.jpg")
    broken.write_bytes(b"no picture")
    paths = [photos["other"], broken, photos["flat"].with_name("gone.jpg"), photos["beside"], photos["flat"]]
    matches = [Match(path, 0.5 - number / 100, ()) for number, path in enumerate(paths)]
    found = rerank(photos["scene"], matches)
    assert [match.path.name for match in found] == [
        "beside.jpg",
        "other.jpg",
        "broken.jpg",
        "gone.jpg",
        "flat.jpg",
    ]
    assert [match.inliers is None for match in found] == [False, False, True, True, False]
    assert [match.score for match in found] == [0.47, 0.5, 0.49, 0.48, 0.46]
    assert rerank(photos["scene"].read_bytes(), matches) == found
    with pytest.raises(ImageError):
        rerank(broken, matches)


def test_few_points_change_nothing_and_many_no_more() -> None:
    assert raised(0.4, LEAST - 1) == 0.4
    assert 0.4 < raised(0.4, LEAST) < raised(0.4, ENOUGH) == raised(0.4, 10 * ENOUGH)
