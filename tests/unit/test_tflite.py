"""Imported TFLite files answer as LiteRT does, and damaged ones are refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_tflite import CLASSES, SIDE, Made, network, save_tflite
from PIL import Image

from landmarks.errors import ModelError, SettingsError
from landmarks.model.folder import models_folder, read_info
from landmarks.model.importing.add import add_other
from landmarks.model.importing.loaded import load
from landmarks.model.recognizer import Recognizer

LABELS = "red tower\ngreen tower\nblue tower\n"


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text(LABELS)
    return path


def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def by_litert(path: Path, crops: np.ndarray) -> np.ndarray:
    """Return the answers of LiteRT for images in 0..1, or for int8 ones."""
    interpreter: Any = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    signed = given["dtype"] is np.int8
    prepared = (crops.astype(np.int16) - 128).astype(np.int8) if signed else crops.astype(np.float32) / 255
    rows = []
    for crop in prepared:
        interpreter.set_tensor(given["index"], crop[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output["index"])[0])
    scale, zero = output["quantization"]
    return (np.stack(rows).astype(np.float32) - zero) * (scale or 1)


@pytest.mark.parametrize("half", [False, True])
def test_float_model_answers_as_litert(tmp_path: Path, labels: Path, half: bool) -> None:
    path = save_tflite(tmp_path / "made.tflite", network(half=half))
    folder = add_other(path, labels=labels, preprocessing="squash:16")
    found = Recognizer(folder).answer(pictures()).probabilities
    assert found.std(axis=0).min() > 1e-3, "every picture has an answer of its own"
    assert found == pytest.approx(by_litert(path, pictures()), abs=1e-4)
    assert read_info(folder).data["scores"] == "probabilities"
    assert Recognizer(folder).answer(pictures()).embeddings.shape == (5, 4)


def test_quantized_model_answers_as_litert_to_a_few_steps(tmp_path: Path) -> None:
    path = save_tflite(tmp_path / "made.tflite", network(quantized=True), labels=LABELS)
    folder = add_other(path)
    info = read_info(folder)
    assert (info.classes, info.preprocessing.fit) == (tuple(LABELS.splitlines()), "squash")
    answer = Recognizer(folder).answer(pictures())
    assert answer.embeddings.shape == (5, 4)
    found = np.exp(answer.logits)
    # LiteRT's own kernels differ by as much.
    assert found == pytest.approx(by_litert(path, pictures()), abs=3.5 / 256)


@pytest.mark.shared
def test_both_agree_on_real_photos(tmp_path: Path, labels: Path, shared_data: Path) -> None:
    path = save_tflite(tmp_path / "made.tflite", network())
    photos = sorted((shared_data / "world34/test").glob("*/*.jpg"))[::200][:4]
    crops = np.stack([np.asarray(Image.open(one).convert("RGB").resize((SIDE, SIDE))) for one in photos])
    folder = add_other(path, labels=labels, preprocessing="squash:16")
    assert Recognizer(folder).answer(crops).probabilities == pytest.approx(by_litert(path, crops), abs=1e-4)


def test_metadata_tell_labels_and_range(tmp_path: Path) -> None:
    path = save_tflite(tmp_path / "made.tflite", network(), normalization=(127.5, 127.5), labels=LABELS)
    preprocessing = read_info(add_other(path)).preprocessing
    assert (preprocessing.crop, preprocessing.fit) == (SIDE, "squash")
    assert preprocessing.mean == pytest.approx((0.5,) * 3)
    assert preprocessing.std == pytest.approx((0.5,) * 3)


def test_what_a_file_does_not_tell_must_be_given(tmp_path: Path, labels: Path) -> None:
    path = save_tflite(tmp_path / "made.tflite", network())
    with pytest.raises(SettingsError, match="`labels` must be given"):
        add_other(path)
    with pytest.raises(SettingsError, match="`preprocessing` must be given"):
        add_other(path, labels=labels)
    repeated = save_tflite(tmp_path / "two.tflite", network(quantized=True), labels="crane\ncrane\nother\n")
    with pytest.raises(ModelError, match="'crane' names 2 outputs"):
        add_other(repeated)
    assert add_other(repeated, labels=labels).name == "two"


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ((32, 0, "MagicOp"), "the TFLite operator MagicOp is not supported: convert the model to ONNX elsewhere"),
        ((97, 0, ""), "the TFLite operator number 97 is not supported"),
    ],
)
def test_foreign_operators_are_named(
    tmp_path: Path, labels: Path, operator: tuple[int, int, str], message: str
) -> None:
    made = Made()
    code, kind, custom = operator
    made.operator(code, [made.computed(1, SIDE, SIDE, 3)], made.computed(1, CLASSES), kind, custom=custom)
    path = save_tflite(tmp_path / "made.tflite", made)
    with pytest.raises(ModelError, match=message):
        add_other(path, labels=labels, preprocessing="squash:16")


def test_two_inputs_and_no_picture_are_refused(tmp_path: Path, labels: Path) -> None:
    made = Made()
    first, second = made.computed(1, SIDE, SIDE, 3), made.computed(1, SIDE, SIDE, 3)
    made.operator(0, [first, second], made.computed(1, SIDE, SIDE, 3))
    path = save_tflite(tmp_path / "two.tflite", made, inputs=[0, 1])
    with pytest.raises(ModelError, match=r"two\.tflite: the model must have one input, a picture, not 2"):
        add_other(path, labels=labels, preprocessing="squash:16")
    made = Made()
    made.operator(19, [made.computed(1, 40)], made.computed(1, 40))
    path = save_tflite(tmp_path / "sound.tflite", made)
    with pytest.raises(ModelError, match=r"sound\.tflite: the input tensor_0 is -1 x 40"):
        add_other(path, labels=labels, preprocessing="squash:16")


def test_no_damage_of_a_file_is_anything_but_one_sentence(tmp_path: Path) -> None:
    content = save_tflite(tmp_path / "whole.tflite", network(quantized=True)).read_bytes()
    path, chance, sentences = tmp_path / "damaged.tflite", random.Random(0), []
    for attempt in range(300):
        damaged = bytearray(content)
        if attempt % 3 == 0:
            damaged = damaged[: chance.randrange(len(content))]
        else:
            for _ in range(4):
                damaged[chance.randrange(8, len(content))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load(path)
        except ModelError as error:
            sentences.append(str(error))
    assert len(sentences) > 100
    assert all(sentence.startswith(f"{path}: ") for sentence in sentences)
    assert not models_folder().exists()
