"""A recogniser answers for every photo, in order, and an unreadable photo does not stop the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from landmarks.errors import ModelError
from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.folder import ModelInfo, write_info
from landmarks.model.recognizer import Recognition, Recognizer

CONTRACT = Preprocessing(resize=40, crop=32)
CLASSES = ("red", "green", "blue")


def write_model(
    folder: Path, *, classes: tuple[str, ...] = CLASSES, crop: int = 32, temperature: float = 1.0
) -> Path:
    """Write a model without a network: the mean colour is the embedding, and six times it the logits."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weight"], ["logits"]),
    ]
    constants = {
        "axes": np.array([1, 2]),
        "white": np.array(255, np.float32),
        "weight": 6 * np.eye(3, dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("logits", "embedding")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    describe(folder, classes=classes, crop=crop, temperature=temperature)
    return folder


def describe(
    folder: Path, *, classes: tuple[str, ...] = CLASSES, crop: int = 32, temperature: float = 1.0
) -> None:
    files = {"model.onnx": sha256_file(folder / "model.onnx")}
    contract = Preprocessing(resize=40, crop=crop)
    write_info(folder, ModelInfo("colours", "mean", "fp32", classes, contract, temperature, files=files))


@pytest.fixture
def recognizer(tmp_path: Path) -> Recognizer:
    return Recognizer(write_model(tmp_path / "model"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    colours = ["red", "blue", "green", "blue", "red", "green", "blue"]
    for number, colour in enumerate(colours):
        Image.new("RGB", (50 + number, 60), colour).save(tmp_path / f"{number}.{colour}.png")
    return sorted(tmp_path.glob("*.png"))


def first(result: Recognition) -> str:
    return result.candidates[0].class_name


def test_answers_come_in_the_order_of_the_photos(recognizer: Recognizer, photos: list[Path]) -> None:
    for order in (photos, photos[::-1]):
        results = list(recognizer.recognize(order))
        assert [result.path for result in results] == order
        assert [first(result) for result in results] == [path.name.split(".")[1] for path in order]


def test_a_photo_that_cannot_be_read_gives_its_reason_and_stops_nothing(
    recognizer: Recognizer, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_bytes(b"a shopping list")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(photos[0].read_bytes()[:60])
    broken = [tmp_path / name for name in ("text.jpg", "empty.jpg", "cut.png", "gone.jpg")]
    asked = [*broken, photos[0], photos[1], broken[0], photos[2]]
    results = list(recognizer.recognize(asked))
    assert [result.path for result in results] == asked
    assert [first(result) for result in results if not result.error] == ["red", "blue", "green"]
    failed = [result for result in results if result.error]
    assert [result.path for result in failed] == [*broken, broken[0]]
    assert all(result.candidates == () for result in failed)
    assert "the file is empty" in str(failed[1].error)
    assert str(tmp_path) not in str(failed[1].error)  # a table shows the path in a column of its own


def test_candidates_are_the_likeliest_first(recognizer: Recognizer, photos: list[Path]) -> None:
    (result,) = recognizer.recognize(photos[:1])
    probabilities = [candidate.probability for candidate in result.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    (shorter,) = recognizer.recognize(photos[:1], top=1)
    assert shorter.candidates == result.candidates[:1]


def test_photos_do_not_depend_on_their_batch(recognizer: Recognizer, photos: list[Path]) -> None:
    alone = list(recognizer.recognize(photos, batch_size=1))
    for size in (2, 3, 7, 100):
        assert list(recognizer.recognize(photos, batch_size=size)) == alone


def test_probabilities_are_the_softmax_at_the_temperature(recognizer: Recognizer, photos: list[Path]) -> None:
    batch = np.stack([prepare(path, CONTRACT) for path in photos])
    answers = recognizer.answer(batch)
    embeddings = batch.mean(axis=(1, 2)) / 255
    expected = np.exp(6 * embeddings) / np.exp(6 * embeddings).sum(axis=1, keepdims=True)
    assert answers.probabilities.dtype == answers.embeddings.dtype == np.float32
    np.testing.assert_allclose(answers.embeddings, embeddings, atol=1e-6)
    np.testing.assert_allclose(answers.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_temperature_makes_answers_less_sure(tmp_path: Path, photos: list[Path]) -> None:
    sure = Recognizer(write_model(tmp_path / "min_confidence"))
    unsure = Recognizer(write_model(tmp_path / "unsure", temperature=3.0))
    batch = np.stack([prepare(path, CONTRACT) for path in photos])
    assert (unsure.answer(batch).probabilities.max(axis=1) < sure.answer(batch).probabilities.max(axis=1)).all()


def test_no_photos_give_no_answers(recognizer: Recognizer) -> None:
    assert list(recognizer.recognize([])) == []


@pytest.mark.parametrize("wrong", [{"classes": ("red", "green")}, {"crop": 24}], ids=["classes", "crop"])
def test_a_network_that_is_not_the_described_one_is_told(tmp_path: Path, wrong: dict[str, object]) -> None:
    folder = write_model(tmp_path / "model")
    describe(folder, **wrong)
    with pytest.raises(ModelError, match=r"the input and outputs in model\.json"):
        Recognizer(folder)


def test_a_tampered_or_broken_network_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"model\.onnx: the file is not the one that was exported"):
        Recognizer(folder)
    describe(folder)
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        Recognizer(folder)
