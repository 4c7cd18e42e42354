"""A model folder describes itself, and a damaged one is refused."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from landmarks.errors import ModelError, SettingsError
from landmarks.fewshot.learned import learned_digest
from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model import folder as model_folder
from landmarks.model.folder import (
    ModelInfo,
    bundled_models,
    check_file,
    find_model,
    find_models,
    read_info,
    write_info,
)

INFO = ModelInfo(
    name="towers",
    architecture="mymodel",
    precision="int8",
    classes=("Köln, «Dom»", "東京タワー 🗼"),
    preprocessing=Preprocessing(resize=128, crop=112, mean=(0.1, 0.2, 0.3), std=(0.2, 0.2, 0.2)),
    temperature=1.5,
    metrics={"valid": {"top1": {"value": 0.9}}},
    data={"train": 10},
    versions={"torch": "2.14"},
    created="2026-01-31",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "towers"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    files = {"model.onnx": sha256_file(folder / "model.onnx")}
    write_info(folder, ModelInfo(**{**vars(INFO), "files": files}))
    return folder


def test_what_was_written_is_read(folder: Path) -> None:
    info = read_info(folder)
    assert ModelInfo(**{**vars(info), "files": {}}) == INFO
    assert check_file(folder, info, "model.onnx") == folder / "model.onnx"


def test_what_was_read_of_models_that_are_gone_is_not_kept(folder: Path, tmp_path: Path) -> None:
    assert read_info(folder) is read_info(folder)
    first = weakref.ref(read_info(folder))
    for number in range(2):
        read_info(Path(shutil.copytree(folder, tmp_path / str(number))))
    gc.collect()
    assert first() is None


def change(**values: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (Path.unlink, r"not a model folder \(model\.json is missing\): give one made by landmarks export"),
        (lambda path: path.write_text("{", encoding="utf-8"), r"model\.json: damaged .*: export the model again"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), r"model\.json: damaged"),
        (lambda path: path.write_text("[]", encoding="utf-8"), r"model\.json: damaged"),
        (lambda path: path.write_text("[" * 100_000, encoding="utf-8"), r"model\.json: damaged"),
        (change(format=2), "format 2 is not known: update landmarks or export the model again"),
        (change(colour="red"), r"model\.json: damaged .*colour"),
        (change(classes="AB"), r"model\.json: damaged .*not a list of names"),
        (change(classes=["A"]), "needs two classes or more, a known head and a temperature above 0"),
        (change(temperature=0), "needs two classes or more, a known head and a temperature above 0"),
        (change(temperature=float("inf")), "needs two classes or more, a known head and a temperature above 0"),
        (change(temperature="warm"), r"model\.json: damaged"),
        (change(created=20261129), r"model\.json: damaged \(created is not text"),
        (change(temperature=10**400), r"model\.json: damaged"),
        (change(origin=[{"collection": "web", "licence": []}]), r"model\.json: damaged .*needs a name, a licence"),
        (change(files=7), r"model\.json: damaged"),
        (change(files={"model.onnx": None}), r"model\.json: damaged .*checksums"),
        (change(files={}), r"model\.json: damaged .*the files lack model\.onnx"),
        (change(name=None), r"model\.json: damaged .*name is not text"),
        (change(preprocessing={"crop": 224}), r"model\.json: preprocessing has missing or unknown entries"),
    ],
)
def test_a_damaged_description_is_told(folder: Path, damage: Callable[[Path], object], sentence: str) -> None:
    damage(folder / "model.json")
    with pytest.raises(ModelError, match=sentence) as caught:
        read_info(folder)
    assert str(caught.value).startswith(str(folder))


def test_a_temperature_is_a_number_however_it_is_spelt(folder: Path) -> None:
    change(temperature="2.5")(folder / "model.json")
    assert read_info(folder).temperature == 2.5


def test_a_file_that_is_not_the_exported_one_is_told(folder: Path) -> None:
    info = read_info(folder)
    (folder / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(ModelError, match=r"model\.onnx: the file is not the one that was exported"):
        check_file(folder, info, "model.onnx")
    with pytest.raises(ModelError, match=r"model\.pt: the file is missing: export the model again"):
        check_file(folder, info, "model.pt")
    (folder / "model.pt").write_bytes(b"slipped in")
    with pytest.raises(ModelError, match=r"model\.pt: the file is not the one that was exported"):
        check_file(folder, info, "model.pt")


def test_a_file_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = read_info(folder)
    (folder / "learned.npz").touch()

    def deny(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)  # root may read everything
    for read in (lambda: check_file(folder, info, "model.onnx"), lambda: learned_digest(folder, info)):
        with pytest.raises(ModelError, match=r"cannot be read \(permission denied\): change its permissions"):
            read()


def test_a_name_that_no_folder_can_have_is_no_model() -> None:
    for find in (find_model, find_models):
        with pytest.raises(ModelError, match="no such model"):
            find("x" * 300)
        with pytest.raises(SettingsError, match="`model` is an empty path"):
            find("")


def test_a_model_is_found_by_folder_or_by_bundled_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundled").mkdir()
    folder.rename(tmp_path / "bundled" / "towers")
    monkeypatch.setattr(model_folder.resources, "files", lambda package: tmp_path)
    assert bundled_models() == {"towers": tmp_path / "bundled" / "towers"}
    assert find_model("towers") == tmp_path / "bundled" / "towers"
    assert find_model(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towers").mkdir()  # photos of towers, for example
    assert find_model("towers") == tmp_path / "bundled" / "towers"
    assert find_model("./towers") == Path("towers")
    (tmp_path / "towers/model.json").write_bytes((tmp_path / "bundled/towers/model.json").read_bytes())
    assert find_model("towers") == Path("towers")
    with pytest.raises(ModelError, match=r"bridges: no such model: give a folder .* a known name \(towers\)"):
        find_model("bridges")


def test_what_comes_with_the_package_can_be_read() -> None:
    for folder in bundled_models().values():
        info = read_info(folder)
        assert all(check_file(folder, info, name).is_file() for name in info.files)
