"""The index behind `/v1/search`: what it tells of a photo, and that it shows none unless asked to."""

from __future__ import annotations

import os
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from commands import landmarks
from PIL import Image
from starlette.testclient import TestClient
from tiny_model import COLOURS, camera_exif, save_colour

from landmarks.imaging.preprocessing import prepare
from landmarks.model.recognizer import Recognizer

# Not imported here: it takes seconds, in each process that collects the tests.
pytestmark = pytest.mark.skipif(find_spec("lancedb") is None, reason="the extra search is not installed")

TOWER, HENGE = COLOURS["07.Eiffel_Tower"], COLOURS["31.Stonehenge"]


def test_photos_are_shown_only_on_request_small_and_without_metadata(model: Path, tmp_path: Path) -> None:
    from landmarks.serving.models.photo_index import PhotoIndex

    root = tmp_path / "photos"
    exif = camera_exif((48.8584, 2.2945), "2024:05:01 10:00:00")
    save_colour(root / "paris" / "tower.jpg", TOWER, (640, 480), exif)
    save_colour(root / "henge.jpg", HENGE, (480, 640), exif)
    with Image.open(root / "paris" / "tower.jpg") as photo:
        photo.save(root / "paris" / "tower.jpg", comment=b"of nobody's business", exif=photo.getexif())
    done = landmarks("index", root, "--model", model, "--index", tmp_path / "index")
    assert done.status == 0, done.err
    recognizer = Recognizer(model)
    query = prepare(root / "paris" / "tower.jpg", recognizer.info.preprocessing)
    embedding = recognizer.answer(np.stack([query])).embeddings[0]
    names = ["paris/tower.jpg", "henge.jpg"]
    plain = PhotoIndex(str(tmp_path / "index"), model).search(embedding, 2)
    assert [(one.name, one.picture) for one in plain] == [(name, None) for name in names]
    (root / "henge.jpg").unlink()
    shown = PhotoIndex(str(tmp_path / "index"), model, pictures=True).search(embedding, 2)
    assert [(one.name, one.picture is None) for one in shown] == list(zip(names, (False, True), strict=True))
    assert shown[0].picture is not None
    small = Image.open(BytesIO(shown[0].picture))
    assert "comment" not in small.info
    assert (small.format, small.size, dict(small.getexif())) == ("JPEG", (160, 120), {})


def test_names_that_are_no_utf_8_can_be_answered(model: Path, tmp_path: Path) -> None:
    from landmarks.serving.app import create_app
    from landmarks.serving.models.photo_index import PhotoIndex
    from landmarks.serving.settings import ServeSettings

    root = tmp_path / "photos"
    save_colour(root / "plain.jpg", TOWER, (64, 48))
    (root / "plain.jpg").rename(root / os.fsdecode(b"caf\xe9.jpg"))
    done = landmarks("index", root, "--model", model, "--index", tmp_path / "index")
    assert done.status == 0, done.err
    with TestClient(
        create_app(ServeSettings(model, workers=1), PhotoIndex(str(tmp_path / "index"), model))
    ) as client:
        content = (root / os.fsdecode(b"caf\xe9.jpg")).read_bytes()
        answer = client.post("/v1/search", content=content, headers={"content-type": "image/jpeg"})
    assert [each["name"] for each in answer.json()["neighbours"]] == ["caf\\xe9.jpg"]


def test_an_index_may_be_named_by_the_folder_that_was_indexed(model: Path, tmp_path: Path) -> None:
    from landmarks.errors import SearchError
    from landmarks.serving.models.photo_index import PhotoIndex

    save_colour(tmp_path / "holiday" / "rome" / "tower.jpg", TOWER, (64, 48))
    assert landmarks("index", tmp_path / "holiday", "--model", model).status == 0
    for place in ("holiday", "holiday/rome", "holiday/.landmarks/index"):
        found = PhotoIndex(str(tmp_path / place), model).search(np.ones(3, np.float32), 1)
        assert [one.name for one in found] == ["rome/tower.jpg"], place
    with pytest.raises(SearchError, match="there is no index"):  # not that of a folder above
        PhotoIndex(str(tmp_path / "holiday" / "misspelt"), model)


def test_pictures_need_an_index(model: Path) -> None:
    done = landmarks("serve", "--model", model, "--index-pictures")
    assert (done.status, done.complaint) == (2, "--index-pictures needs --index: give it too")
