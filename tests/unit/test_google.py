"""Google's classifiers in miniature: two synthetic regions become one model that tags."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from made_tfjs import MIDDLE, make_tfjs
from PIL import Image

from landmarks.errors import DataError, ModelError, SettingsError
from landmarks.model.folder import find_model, models_folder, read_info
from landmarks.model.importing import google
from landmarks.model.importing.add import Callbacks, add_google
from landmarks.model.importing.download import RemoteFile
from landmarks.model.importing.threshold import Negatives
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.pipeline import load_model

LABELS = {
    "europe": ["Eiffel Tower", "Eiffel Tower", "Rathaus", "Tourism"],
    "asia": ["Taj Mahal", None],
}
COLOURS = {
    "europe": [(1, 0, 0), (0.9, 0.1, 0), (0, 1, 0), (0.4, 0.5, 0.6)],
    "asia": [(0, 0, 1), (1, 1, 1)],
}


def unit(vectors: object) -> np.ndarray:
    values = np.array(vectors, dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder filled by hand, and the list of files that belongs to it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "downloads"
    for region, colours in COLOURS.items():
        prototypes = np.concatenate([unit(colours), np.zeros((len(colours), 1), np.float32)], axis=1)
        make_tfjs(folder / f"models/landmarks_{region}", prototypes)
        path = folder / f"src/landmarks/{region}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"name": {str(n): name for n, name in enumerate(LABELS[region])}}))
    monkeypatch.setattr(google, "remote_files", lambda regions: listed(folder, regions))
    return folder


def listed(folder: Path, regions: object) -> list[RemoteFile]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    wanted = [path for path in paths if any(f"landmarks_{r}/" in str(path) or path.stem == r for r in regions)]
    return [
        RemoteFile(path.relative_to(folder).as_posix(), path.stat().st_size, git_blob(path)) for path in wanted
    ]


def git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_two_regions_become_one_model(download: Path, tmp_path: Path) -> None:
    folder = add_google(source=download, regions=["europe", "asia"])
    assert folder == find_model("google-landmarks") == models_folder() / "google-landmarks"
    info = read_info(folder)
    assert set(info.classes) == {"Eiffel Tower", "Rathaus", "Taj Mahal", "background"}
    assert (info.head, info.preprocessing.fit, info.data["prototypes"]) == ("prototypes", "squash", 6)
    recognizer = Recognizer(folder)
    found = recognizer.answer(np.full((1, 16, 16, 3), (255, 0, 0), dtype=np.uint8))
    # The nearest of the prototypes of each name, as plain NumPy has it.
    expected = {"Eiffel Tower": 1.0, "Rathaus": 0.0, "Taj Mahal": 0.0, "background": 1 / 3**0.5}
    assert dict(zip(info.classes, found.logits[0].tolist(), strict=True)) == pytest.approx(expected, abs=0.01)
    assert found.scores is not None
    assert found.scores[0] == pytest.approx(2 - 1 / 3**0.5, abs=0.02)


def test_place_is_tagged_with_position_and_many_places_as_their_kind(download: Path, tmp_path: Path) -> None:
    add_google(source=download, regions=["europe", "asia"])
    model = load_model("google-landmarks")
    photos = [paint(tmp_path / f"{n}.png", c) for n, c in enumerate([(250, 0, 0), (0, 250, 0), (200, 200, 200)])]
    tower, hall, nothing = model.tag(photos)
    assert [(tag.name, tag.level) for tag in tower.tags] == [("Eiffel Tower", "landmark")]
    assert tower.tags[0].place is not None
    assert tower.tags[0].place.country == "France"
    assert [(tag.name, tag.level, tag.place) for tag in hall.tags] == [("town hall", "kind", None)]
    assert nothing.tags == ()


def test_threshold_comes_from_negatives(download: Path, tmp_path: Path) -> None:
    negatives = tmp_path / "nothing"
    rng = np.random.default_rng(0)
    for number in range(30):
        paint(negatives / f"{number}.png", tuple(int(v) for v in rng.integers(90, 160, 3)))
    (negatives / "broken.png").write_text("no picture")
    paint(negatives / "eiffel tower" / "a.png", (250, 0, 0))
    steps: list[str] = []
    chosen = Negatives(negatives, 0.1)
    callbacks = Callbacks(step=steps.append)
    folder = add_google(source=download, regions=["europe"], negatives=chosen, name="mine", callbacks=callbacks)
    calibration = read_info(folder).calibration
    assert calibration is not None
    assert calibration["fitted_on"] == {
        "negatives": 30,
        "unreadable": 1,
        "known_landmarks": ["eiffel tower"],
        "folders": ["nothing"],
    }
    assert f"photos of {negatives} that cannot be read: 1" in steps
    assert f"{negatives}: left out, as the model knows these landmarks: eiffel tower" in steps
    scores = [one.score for one in Recognizer(folder).recognize(sorted(negatives.glob("[0-9]*")))]
    assert sum(score >= calibration["threshold"] for score in scores) <= 3
    assert "at most 10.0%" in (folder / "README.md").read_text()
    with pytest.raises(DataError, match=r"cannot promise a rate of 0\.001"):
        add_google(source=download, regions=["europe"], negatives=Negatives(negatives, 0.001), name="other")
    assert not (models_folder() / "other").exists()


def test_other_backbone_is_refused_and_nothing_is_left(download: Path) -> None:
    prototypes = np.eye(2, 4, dtype=np.float32)
    make_tfjs(download / "models/landmarks_asia", prototypes, matrix=2 * MIDDLE)
    with pytest.raises(ModelError, match="europe: its network is not the one of the other regions"):
        add_google(source=download, regions=["europe", "asia"])
    assert [path.name for path in models_folder().iterdir()] == [".google-landmarks.lock"]


def test_damaged_files_and_a_model_that_is_there_are_told(download: Path) -> None:
    shard = download / "models/landmarks_europe/group1-shard2of2.bin"
    right = shard.read_bytes()
    files = google.remote_files(["europe"])
    shard.write_bytes(right[:-1] + b"x")
    with pytest.raises(ModelError, match="1 of 4 files are missing or are other ones"):
        google.located(files, download)
    shard.write_bytes(right)
    add_google(source=download, regions=["europe"])
    with pytest.raises(ModelError, match="this model is there already"):
        add_google(source=download, regions=["europe"])


def test_regions_are_checked() -> None:
    with pytest.raises(SettingsError, match="`regions` must be some of africa"):
        google.remote_files(["atlantis"])
    files = google.remote_files(["africa"])
    assert len(files) == 8
    assert sum(file.size for file in google.remote_files(google.REGIONS)) > 200e6
