"""Properties of a file without its pixels, and incomplete files."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_scene
from PIL import Image

from landmarks.training.data.cache import build_cache
from landmarks.training.doctor.pictures import find_broken, read_header


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    return draw_scene("Clock_Tower", random.Random(1), side=120)


def jpeg(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


@pytest.mark.parametrize("quality", [30, 40, 50, 75, 90, 98])
def test_the_quality_is_told_by_the_tables(scene: Image.Image, quality: int, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(scene, quality=quality))
    width, height, size, found = read_header(path)
    assert (width, height, size) == (*scene.size, path.stat().st_size)
    assert found == pytest.approx(quality, abs=2)


def test_other_formats_have_no_quality_and_what_is_no_picture_nothing(scene: Image.Image, tmp_path: Path) -> None:
    scene.save(tmp_path / "x.png")
    (tmp_path / "x.jpg").write_text("no picture")
    assert read_header(tmp_path / "x.png")[3] == 0
    assert read_header(tmp_path / "x.jpg") == (0, 0, 10, 0.0)
    assert read_header(tmp_path / "missing.jpg") == (0, 0, 0, 0.0)


def test_broken_files_are_found_and_whole_ones_are_not(scene: Image.Image, tmp_path: Path) -> None:
    content = jpeg(scene, quality=85)
    half = len(content) // 2
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xda \xff\xd9 \xff\xda"  # looks like markers, in a comment
    files = {
        "good.jpg": content,
        "progressive.jpg": jpeg(scene, progressive=True),
        "appended.jpg": content + b"what a camera appends" + jpeg(scene.resize((30, 20))),
        "comment.jpg": jpeg(scene, exif=exif),
        "short.jpg": content[:half],
        "zeros.jpg": content[:half] + bytes(len(content) - half),
        "no end.jpg": content[:-2] + b"\0\0",
        "empty.jpg": b"",
        "page.jpg": b"<html></html>",
        "flat.jpg": jpeg(Image.new("RGB", (80, 60), (90, 120, 200))),
    }
    for name, written in files.items():
        (tmp_path / name).write_bytes(written)
    paths = sorted(tmp_path.iterdir())
    broken = find_broken(paths, build_cache(paths, tmp_path / "cache"))
    reasons = {one.path.name: one.reason for one in broken}
    assert set(reasons) == {"short.jpg", "zeros.jpg", "no end.jpg", "empty.jpg", "page.jpg", "flat.jpg"}
    assert "flat" in reasons["flat.jpg"]


def test_a_download_whose_rest_is_zeros_is_found_wherever_it_stopped(scene: Image.Image, tmp_path: Path) -> None:
    content = jpeg(scene, quality=85)
    for cut in range(len(content) // 20, len(content), len(content) // 40):
        (tmp_path / f"{cut}.jpg").write_bytes(content[:cut] + bytes(len(content) - cut))
    (tmp_path / "whole.jpg").write_bytes(content)
    paths = sorted(tmp_path.iterdir())
    # Decoders take some of these for whole: zeros are grey to them.
    broken = find_broken(paths, build_cache(paths, tmp_path / "cache"))
    assert {one.path.name for one in broken} == {path.name for path in paths} - {"whole.jpg"}


def test_a_dark_photo_is_not_flat(scene: Image.Image, tmp_path: Path) -> None:
    night = Image.fromarray((np.asarray(scene) * 0.15).astype(np.uint8))
    night.save(tmp_path / "night.png")
    assert find_broken([tmp_path / "night.png"], build_cache([tmp_path / "night.png"], tmp_path / "cache")) == []
