"""The answers do not depend on the engine or the batch size."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from commands import landmarks
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import COLOURS, CROP, make_model, save_colour

from landmarks.errors import ModelError, SettingsError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.engines import ENGINES, Engine, EngineName, load_engine
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.settings import TagSettings
from landmarks.training.models.model import MyModel
from landmarks.training.models.onnx_graph import write_onnx

CONTRACT = Preprocessing(resize=40, crop=36)
CLASSES = 3


def load(path: Path, name: EngineName, *, crop: int = CONTRACT.crop, classes: int | None = CLASSES) -> Engine:
    if name == "openvino":
        pytest.importorskip("openvino")
    return load_engine(path, name=name, threads=1, crop=crop, classes=classes)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    torch.manual_seed(0)
    write_onnx(MyModel(CLASSES, widths=(16, 32), depths=(1, 1)), CONTRACT, path)
    return path


@pytest.fixture(scope="module")
def engines(network: Path) -> dict[EngineName, Engine]:
    return {name: load(network, name) for name in ENGINES}


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 36, 36, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 9), batch=st.integers(1, 9), seed=st.integers(0, 999))
def test_engine_and_batch_size_do_not_change_answers(
    engines: dict[EngineName, Engine], count: int, batch: int, seed: int
) -> None:
    asked = pictures(count, seed)
    alone = [engines["onnxruntime"].run(picture[None]) for picture in asked]
    for engine in engines.values():
        parts = [engine.run(asked[start : start + batch]) for start in range(0, count, batch)]
        for output, expected in zip(zip(*parts, strict=True), zip(*alone, strict=True), strict=True):
            got = np.concatenate(output)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, np.concatenate(expected), atol=1e-4)


@pytest.mark.parametrize("name", ENGINES)
def test_an_answer_outlives_the_next_one(engines: dict[EngineName, Engine], name: EngineName) -> None:
    logits, embeddings = engines[name].run(pictures(2, 0))
    before = logits.copy(), embeddings.copy()
    engines[name].run(pictures(2, 1))
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(embeddings, before[1])


@pytest.mark.parametrize("name", ENGINES)
def test_threads_do_not_get_each_others_answers(engines: dict[EngineName, Engine], name: EngineName) -> None:
    asked = [pictures(1, seed) for seed in range(4)] * 50
    alone = [engines[name].run(one)[0] for one in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: engines[name].run(one)[0], asked))
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(alone), atol=1e-4)


@pytest.mark.parametrize("name", ENGINES)
def test_a_network_without_logits_gives_its_embedding(tmp_path: Path, name: EngineName) -> None:
    graph = onnx.load(make_model(tmp_path / "model") / "model.onnx")
    del graph.graph.output[[output.name for output in graph.graph.output].index("logits")]
    onnx.save(graph, tmp_path / "embedding.onnx")
    logits, embeddings = load(tmp_path / "embedding.onnx", name, crop=CROP, classes=None).run(
        np.full((2, CROP, CROP, 3), 51, dtype=np.uint8)
    )
    assert logits.shape == (2, 0)
    np.testing.assert_allclose(embeddings, 0.2, atol=1e-3)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("wrong", [{"crop": 32}, {"classes": 4}], ids=["crop", "classes"])
def test_another_network_than_described_is_told(network: Path, name: EngineName, wrong: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"the input and outputs in model\.json"):
        load(network, name, **wrong)


@pytest.mark.parametrize("name", ENGINES)
def test_a_broken_network_is_told(tmp_path: Path, name: EngineName) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"model\.onnx: (ONNX Runtime|OpenVINO) cannot load it"):
        load(path, name)


def test_an_unknown_engine_is_told() -> None:
    unknown = cast(EngineName, "tflite")
    told = "`engine` must be one of onnxruntime, openvino, not 'tflite'"
    with pytest.raises(SettingsError, match=told):
        TagSettings(engine=unknown)
    with pytest.raises(SettingsError, match=told):
        load_engine(Path("model.onnx"), name=unknown, threads=1, crop=32, classes=2)


@pytest.mark.parametrize("command", [["tag"], ["predict"]])
def test_a_missing_openvino_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    from landmarks.cli.app import main

    monkeypatch.setitem(sys.modules, "openvino", None)
    model = str(make_model(tmp_path / "model"))
    photo = str(save_colour(tmp_path / "photo.png", COLOURS["31.Stonehenge"]))
    words = [model if word == "MODEL" else word for word in command]
    options = ["--model", model] if command == ["tag"] else []
    assert main([*words, photo, *options, "--engine", "openvino"]) == 2
    assert "pip install -e '.[openvino]'" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_tagging_says_the_same_in_order(tmp_path: Path, engine: str, processes: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    model = make_model(tmp_path / "model")
    shades = list(COLOURS.values())
    photos = [save_colour(tmp_path / f"{number:02d}.png", shades[number % len(shades)]) for number in range(30)]
    said = landmarks("tag", *photos, "--model", model, "--jsonl", "--engine", engine, "--workers", processes)
    usual = landmarks("tag", *photos, "--model", model, "--jsonl", "--workers", "1")
    assert said.out == usual.out
    assert len(said.out.splitlines()) == len(photos)


@pytest.mark.shared
@pytest.mark.usefixtures("exports_once")
def test_real_pictures_get_the_same_probabilities(shared_data: Path, tmp_path: Path) -> None:
    """The pretrained network in fp32, also where the processor could compute in bfloat16: OpenVINO must not."""
    pytest.importorskip("openvino")
    from landmarks.files.checksums import sha256_file
    from landmarks.model.folder import ModelInfo, write_info
    from landmarks.training.models.transfer import get_model_transfer_learning

    torch.manual_seed(0)
    model, preprocessing = get_model_transfer_learning(num_classes=4)  # as other tests, which share its export
    write_onnx(model, preprocessing, tmp_path / "model.onnx")
    files = {"model.onnx": sha256_file(tmp_path / "model.onnx")}
    write_info(tmp_path, ModelInfo("real", "lite", "fp32", ("a", "b", "c", "d"), preprocessing, files=files))
    photos = sorted((shared_data / "world34" / "test").glob("*/*.jpg"))[::60]
    one, two = ([*Recognizer(tmp_path, engine=name).recognize(photos)] for name in ENGINES)
    for first, second in zip(one, two, strict=True):
        assert first.probabilities is not None
        assert second.probabilities is not None
        np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-5)
