"""Imported recognizers: ONNX files, TensorFlow.js graphs, label files, preprocessing, and errors."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.synchronize
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import landmarks
from made_tfjs import make_tfjs
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_model import make_model

from landmarks.errors import ModelError, SettingsError
from landmarks.model.folder import added_models, check_file, models_folder, read_info, write_info
from landmarks.model.importing.add import add_other
from landmarks.model.importing.install import checksums, new_model
from landmarks.model.importing.labels import read_labels
from landmarks.model.importing.loaded import load
from landmarks.model.importing.preprocessing import parse_preprocessing
from landmarks.model.recognizer import Recognizer
from landmarks.training.export.formats.onnx_file import write_onnx_files

WEIGHTS = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3]], dtype=np.float32)


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def make_onnx(
    path: Path,
    *,
    layout: str = "NCHW",
    dtype: int = TensorProto.FLOAT,
    end: str = "Identity",
    batch: int | str = "n",
    inputs: int = 1,
    domain: str = "",
) -> Path:
    """Write a network that gives three times the mean of each channel."""
    shape = [batch, 3, 8, 8] if layout == "NCHW" else [batch, 8, 8, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node(end, ["product"], ["out"], domain=domain),
    ]
    weights = [numpy_helper.from_array(np.array(axes), "axes"), numpy_helper.from_array(WEIGHTS, "weights")]
    names = ["image", *(f"more{n}" for n in range(inputs - 1))]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, dtype, shape) for name in names],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])],
        weights,
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red tower\ngreen tower\nblue tower\n")
    return path


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize(("end", "scores"), [("Identity", "logits"), ("Softmax", "probabilities")])
def test_onnx_model_answers_as_its_own_runtime(
    tmp_path: Path, labels: Path, layout: str, dtype: int, end: str, scores: str
) -> None:
    path = make_onnx(tmp_path / "made.onnx", layout=layout, dtype=dtype, end=end)
    folder = add_other(path, labels=labels, preprocessing="squash:8,range:-1..1", scores=scores)  # type: ignore[arg-type]
    recognizer = Recognizer(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    scaled = pictures.astype(np.float32) / 127.5 - 1
    logits = scaled.mean(axis=(1, 2)) @ WEIGHTS
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert recognizer.answer(pictures).probabilities == pytest.approx(expected, abs=2e-3)
    assert recognizer.answer(pictures).embeddings == pytest.approx(scaled.mean(axis=(1, 2)), abs=2e-3)
    assert read_info(folder).classes == ("red tower", "green tower", "blue tower")


def test_tensorflow_js_model_answers_like_its_mathematics(tmp_path: Path, labels: Path) -> None:
    prototypes = np.eye(3, 4, dtype=np.float32)
    path = make_tfjs(tmp_path / "web", prototypes, side=8)
    folder = add_other(path, labels=labels, preprocessing="squash:8", scores="cosines")
    picture = np.full((1, 8, 8, 3), (255, 0, 128), dtype=np.uint8)
    colour = picture[0, 0, 0] / 255
    expected = colour / np.linalg.norm(colour)
    answer = Recognizer(folder).answer(picture)
    assert answer.logits[0] == pytest.approx(expected, abs=1e-5)
    assert answer.embeddings.shape == (1, 3)
    assert folder.name == "web"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 2}, "must have one input, a picture, not 2 .image, more0."),
        ({"dtype": TensorProto.INT32}, "must be float32, float16 or uint8"),
        ({"batch": 4}, "takes batches of 4 only"),
        ({"end": "MagicOp", "domain": "com.example"}, "has operations of com.example"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    tmp_path: Path, labels: Path, changes: dict[str, object], message: str
) -> None:
    path = make_onnx(tmp_path / "made.onnx", **changes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        add_other(path, labels=labels, preprocessing="squash:8")
    assert not (models_folder() / "made").exists()


def test_files_that_are_no_models_are_refused(tmp_path: Path, labels: Path) -> None:
    for name, content, message in [
        ("a.onnx", b"no model", "not an ONNX model that can be used"),
        ("b.onnx", b"", "not an ONNX model|one input"),
        ("c.json", b"[]", "not a TensorFlow.js graph model"),
        ("d.json", b'{"format": "layers-model"}', "layers model, which has no graph"),
        ("g.exe", b"MZ", "not a model: give an .onnx or .tflite file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=message):
            add_other(tmp_path / name, labels=labels, preprocessing="squash:8")
    assert list(models_folder().glob("*")) == []


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Write a copy of a model with something changed."""
    model = onnx.load(path, load_external_data=False)
    change(model)
    copy = path.with_name(f"changed-{path.name}")
    copy.write_bytes(model.SerializeToString())
    return copy


def refusal(path: Path, labels: Path, **settings: Any) -> str:
    """Return the sentence with which a file is refused; nothing is left in the models folder."""
    with pytest.raises((ModelError, SettingsError)) as caught:
        add_other(path, labels=labels, **{"preprocessing": "squash:8", **settings})
    assert not models_folder().exists()
    return str(caught.value)


def test_weights_are_read_from_the_folder_of_the_model_alone(tmp_path: Path, labels: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = make_onnx(tmp_path / "mine/made.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="made.bin", size_threshold=0)

    def placed(location: str) -> Path:
        def change(model: onnx.ModelProto) -> None:
            for tensor in model.graph.initializer:
                next(item for item in tensor.external_data if item.key == "location").value = location

        return changed(path, change)

    (tmp_path / "outside.bin").write_bytes((tmp_path / "mine/made.bin").read_bytes())
    (tmp_path / "mine/link.bin").symlink_to(tmp_path / "outside.bin")
    for location in ("../outside.bin", str(tmp_path / "outside.bin"), "link.bin", ".", ""):
        assert "outside of its folder: put them beside it" in refusal(placed(location), labels)
    assert "the file with its weights, none.bin, is missing" in refusal(placed("none.bin"), labels)
    (tmp_path / "mine/short.bin").write_bytes(b"ab")
    assert "its weights cannot be read" in refusal(placed("short.bin"), labels)
    assert add_other(path, labels=labels, preprocessing="squash:8").name == "made"


def test_newer_and_older_opsets(tmp_path: Path, labels: Path) -> None:
    path = make_onnx(tmp_path / "made.onnx")

    def with_opset(version: int) -> Path:
        return changed(path, lambda model: setattr(model.opset_import[0], "version", version))

    assert "opset 99 is newer than" in refusal(with_opset(99), labels)
    folder = add_other(with_opset(21), labels=labels, preprocessing="squash:8", name="newer")
    assert onnx.load(folder / "model.onnx").opset_import[0].version == 21


def test_sides_that_the_file_does_not_tell_are_those_of_the_preprocessing(tmp_path: Path, labels: Path) -> None:
    def any_side(model: onnx.ModelProto) -> None:
        for place, name in ((2, "height"), (3, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name

    path = changed(make_onnx(tmp_path / "made.onnx"), any_side)
    assert "must have crop or squash: the file does not tell the side" in refusal(
        path, labels, preprocessing="range:0..1"
    )
    folder = add_other(path, labels=labels, preprocessing="squash:12")
    assert read_info(folder).preprocessing.crop == 12


@pytest.mark.parametrize(
    ("end", "scores", "message"),
    [
        (
            "Softmax",
            "logits",
            "its outputs are probabilities already .they sum to 1.: give `scores` probabilities",
        ),
        ("Sigmoid", "logits", "its outputs are probabilities already .of a sigmoid.: give `scores` sigmoid"),
        ("Identity", "probabilities", "its outputs run from -3 to 3, so they are not probabilities"),
        ("Identity", "cosines", "its outputs run from -3 to 3, so they are not cosines"),
        ("Log", "auto", "its output out is not a number for some pictures"),
    ],
)
def test_outputs_that_are_not_what_is_stated_are_refused(
    tmp_path: Path, labels: Path, end: str, scores: Any, message: str
) -> None:
    path = make_onnx(tmp_path / "made.onnx", end=end)
    assert re.search(message, refusal(path, labels, preprocessing="squash:8,range:-1..1", scores=scores))


@pytest.mark.parametrize(
    ("end", "seen"), [("Softmax", "probabilities"), ("Sigmoid", "sigmoid"), ("Relu", "logits")]
)
def test_probabilities_are_told_from_logits(tmp_path: Path, labels: Path, end: str, seen: str) -> None:
    folder = add_other(make_onnx(tmp_path / "made.onnx", end=end), labels=labels, preprocessing="squash:8")
    assert read_info(folder).data["scores"] == seen


def test_what_a_sigmoid_leaves_open_is_background(tmp_path: Path, labels: Path) -> None:
    path, how = make_onnx(tmp_path / "made.onnx", end="Sigmoid"), "squash:8,range:-1..1"
    folder = add_other(path, labels=labels, preprocessing=how)
    assert read_info(folder).classes == ("red tower", "green tower", "blue tower", "background")
    pictures = np.array([(0, 0, 0), (255, 0, 0)], np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    answer = Recognizer(folder).answer(pictures)
    low, high = 1 / (1 + np.exp(3)), 1 / (1 + np.exp(-3))
    expected = np.array([[low, low, low, high], [high, low, low, low]])
    assert answer.probabilities == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-5)
    labels.write_text("red tower\nBackground\nblue tower\n")
    folder = add_other(path, labels=labels, preprocessing=how, name="own")
    assert read_info(folder).classes == ("red tower", "Background", "blue tower")


def test_rounded_probabilities_need_not_sum_to_one(tmp_path: Path, labels: Path) -> None:
    def rounded(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "exact"
        model.graph.initializer.append(numpy_helper.from_array(np.array(0.3, dtype=np.float32), "step"))
        steps = [("Div", ["exact", "step"], "a"), ("Round", ["a"], "b"), ("Mul", ["b", "step"], "out")]
        model.graph.node.extend(helper.make_node(op, taken, [given]) for op, taken, given in steps)

    path = changed(make_onnx(tmp_path / "made.onnx", end="Softmax"), rounded)
    folder = add_other(path, labels=labels, preprocessing="squash:8")
    assert read_info(folder).data["scores"] == "probabilities"


def test_of_two_outputs_for_the_classes_the_logits_are_taken(tmp_path: Path, labels: Path) -> None:
    def both(model: onnx.ModelProto) -> None:
        model.graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, ["n", 3]))

    folder = add_other(
        changed(make_onnx(tmp_path / "made.onnx", end="Softmax"), both), labels=labels, preprocessing="squash:8"
    )
    assert read_info(folder).data["scores"] == "logits"
    with pytest.raises(ModelError, match=r"3 labels fit 2 of its outputs .*: export it with one of them"):
        add_other(changed(make_onnx(tmp_path / "two.onnx"), both), labels=labels, preprocessing="squash:8")


def test_an_output_called_embedding_is_the_embedding(tmp_path: Path, labels: Path) -> None:
    """A head with several centres per class takes their maximum, which hides its product."""

    def as_exported(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = model.graph.output[0].name = "logits"
        model.graph.node.append(helper.make_node("Concat", ["mean", "mean"], ["embedding"], axis=1))
        model.graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 6]))

    path = changed(make_onnx(tmp_path / "made.onnx", end="Relu"), as_exported)
    folder = add_other(path, labels=labels, preprocessing="squash:8,range:0..1", scores="logits")
    answer = Recognizer(folder).answer(np.full((1, 8, 8, 3), (255, 51, 102), dtype=np.uint8))
    assert answer.embeddings[0] == pytest.approx([1, 0.2, 0.4] * 2, abs=1e-4)


def test_large_pictures_and_names_that_are_taken_are_refused(tmp_path: Path, labels: Path) -> None:
    def huge(model: onnx.ModelProto) -> None:
        for place in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 9000

    path = make_onnx(tmp_path / "made.onnx")
    assert "a square of at most 1024 pixels, not 9000 x 9000" in refusal(changed(path, huge), labels)
    for name in ("..", "../made", "a/b", ".made", "a b", "a,b"):
        assert "`name` must be letters, digits" in refusal(path, labels, name=name)
    assert "`name` world is that of a model that comes with landmarks" in refusal(path, labels, name="world")


def test_options_that_serve_another_kind_of_model_are_refused(tmp_path: Path, labels: Path) -> None:
    ours, foreign = make_model(tmp_path / "ours"), make_onnx(tmp_path / "made.onnx")
    for model, option, value, sentence in (
        (ours, "--scores", "logits", "--scores is for models of others, not for a model folder: leave it out"),
        (ours, "--architecture", "resnet50", "--architecture is for models of others, not for a model folder"),
        (ours, "--regions", "asia", "--regions is for google-landmarks, not for a model folder"),
        (foreign, "--from", tmp_path, "--from is for google-landmarks, not for models of others"),
        ("google-landmarks", "--labels", labels, "--labels is for models of others, not for google-landmarks"),
        ("google-landmarks", "--licence", "MIT", "--licence is for a model folder and models of others, not for"),
        (foreign, "--target-fpr", 0.2, "needs --negatives: give a folder"),
    ):
        outcome = landmarks("models", "add", model, option, value)
        assert (outcome.status, sentence in outcome.complaint) == (2, True), outcome.err


def test_the_licence_of_a_folder_is_recorded_in_the_copy(tmp_path: Path) -> None:
    ours = make_model(tmp_path / "ours")
    (ours / "README.md").write_text("# ours\n\nLicence of the weights: not stated.\n")
    write_info(ours, replace(read_info(ours), files=checksums(ours)))
    assert landmarks("models", "add", ours, "--licence", "MIT").status == 0
    copy = added_models()["ours"]
    assert read_info(copy).licence == "MIT"
    assert "Licence of the weights: MIT.\n" in check_file(copy, read_info(copy), "README.md").read_text()
    refused = landmarks("models", "add", copy, "--name", "again", "--licence", "ISC")
    assert "its licence is stated (MIT): leave out --licence" in refused.complaint


def test_a_damaged_model_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert landmarks("models", "add", make_model(tmp_path / name)).status == 0
    (added_models()["first"] / "model.json").write_text("{")
    (added_models()["second"] / "model.onnx").unlink()
    outcome = landmarks("models", make_model(tmp_path / "third"))
    assert outcome.status == 2
    assert "third: 4 landmarks" in outcome.out
    assert "world: 158 landmarks" in outcome.out
    assert outcome.err.count("remove its folder and add the model again with landmarks models add") == 2


def test_wrong_number_of_labels_is_told_with_the_outputs(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "made.onnx")
    (tmp_path / "two.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"2 labels fit 0 of its outputs .out with 3 values."):
        add_other(path, labels=tmp_path / "two.txt", preprocessing="squash:8")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\n two  words\n", ("one", "two words")),
        ("b.csv", "id,name\n1,one\n0,zero\n", ("zero", "one")),
        ("c.csv", "one\ntwo\n", ("one", "two")),
        ("d.json", '["one", "two"]', ("one", "two")),
        ("e.json", '{"name": {"1": "two", "0": "one"}}', ("one", "two")),
        ("f.json", '{"one": 0, "two": 1}', ("one", "two")),
        ("g.tsv", "label\tother\none\t1\ntwo\t2\n", ("one", "two")),
        ("h.csv", "id;name\n1;one\n0;Paris, zero\n", ("Paris, zero", "one")),
        ("i.txt", "\ufeffone\r\ntwo\r\n\r\n", ("one", "two")),
        ("j.txt", "one\u2028half\ntwo\n", ("one half", "two")),
        ("k.json", '{"id2label": {"0": "one", "1": "cafe\u0301"}}', ("one", "caf\u00e9")),
    ],
)
def test_labels_are_read(tmp_path: Path, name: str, content: str, expected: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(content)
    assert read_labels(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "caf\u00e9\nb\n".encode("latin-1"), "byte 3 is not UTF-8"),
        ("b.txt", b"one\n\nthree\n", "label 2 is empty"),
        ("c.txt", b"one\none\n", "'one' names 2 outputs"),
        ("d.txt", b"one\n", "1 labels are too few"),
        ("e.json", b"{", "not JSON"),
        ("f.json", b'{"0": "a", "2": "b"}', "there is no label 1"),
        ("g.csv", b"a,b\n1,2\n", "no column name, label, class"),
        ("h.tflite", b"TFL3", "it has no embedded labels"),
        ("i.txt", "a\nb\n".encode("utf-16"), "byte 0 is not UTF-8"),
        ("j.txt", b" \n\n", "0 labels are too few"),
        ("k.txt", b"a\x00\nb\n", "label 1 has a control character"),
        ("l.txt", "caf\u00e9\ncafe\u0301\n".encode(), "'caf\u00e9' names 2 outputs"),
        ("m.json", b'{"0": "a", "0": "b", "1": "c"}', "'0' is there twice"),
        ("n.json", b'{"a": 0, "b": 0}', "the number 0 has two labels"),
        ("o.json", b"[" * 100_000, "not JSON"),
        ("p.csv", b"name\n" + b"a" * 200_000 + b"\nb\n", "not a table .field larger than field limit"),
        ("q.csv", b"id,name\n0,a\n0,b\n", "the numbers do not run from 0 without gaps"),
        ("r.json", b"null", "not a list of names"),
    ],
)
def test_label_files_that_are_wrong_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_labels(tmp_path / name)


def test_preprocessing_is_read() -> None:
    crop = parse_preprocessing("short:292,crop:256,range:-1..1", side=256).preprocessing
    assert (crop.resize, crop.crop, crop.fit, crop.mean, crop.std) == (292, 256, "crop", (0.5,) * 3, (0.5,) * 3)
    squash = parse_preprocessing("squash:321,range:0..255,layout:nhwc", side=321)
    assert (squash.preprocessing.fit, squash.layout, squash.preprocessing.std) == (
        "squash",
        "NHWC",
        (1 / 255,) * 3,
    )
    assert parse_preprocessing("imagenet", side=224).preprocessing.mean == (0.485, 0.456, 0.406)
    for text, message in [
        ("crop", "must be imagenet, inception, or parts"),
        ("squash:8,colour:blue", "unknown part 'colour'"),
        ("squash:8,Squash:8", "has squash twice"),
        ("squash:8,crop:8", "squash, or short and crop, not both"),
        ("crop:9", "gives 9 pixels and the network takes 8"),
        ("squash:8,range:1..0", "a range that rises"),
        ("squash:8,mean:1/2", "mean must be 3 numbers"),
    ]:
        with pytest.raises(SettingsError, match=message):
            parse_preprocessing(text, side=8)


def test_an_onnx_file_of_an_export_is_read_with_the_preprocessing_beside_it(tmp_path: Path) -> None:
    write_onnx_files(make_model(tmp_path / "made"), tmp_path)
    added = add_other(tmp_path / "model.onnx", labels=tmp_path / "labels.txt", scores="logits", name="mine")
    crop = np.full((1, 32, 32, 3), 90, dtype=np.uint8)
    answers = [Recognizer(one).answer(crop).probabilities for one in (tmp_path / "made", added)]
    np.testing.assert_allclose(*answers, atol=1e-6)
    (tmp_path / "preprocessing.json").write_text('{"resize": 32}')
    with pytest.raises(SettingsError, match="`preprocessing` must be given"):
        add_other(tmp_path / "model.onnx", labels=tmp_path / "labels.txt", name="other")


def test_squashed_pictures_keep_all_of_the_photo(tmp_path: Path, labels: Path) -> None:
    folder = add_other(make_onnx(tmp_path / "made.onnx"), labels=labels, preprocessing="squash:8")
    wide = np.zeros((10, 90, 3), dtype=np.uint8)
    wide[:, :30, 0] = 255
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    prepared = Recognizer(folder).prepare(path)
    assert prepared.picture is not None
    assert prepared.picture.shape == (8, 8, 3)
    assert prepared.picture[..., 0].mean() == pytest.approx(85, abs=3)


def test_second_command_waits_for_nothing_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "models" / "mine"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(target, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(ModelError, match="another command is adding this model"), new_model(target):
        pass
    assert process.pid is not None
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not target.exists()
    for left in target.parent.glob(".mine-*"):
        os.utime(left, (0, 0))  # a minute later
    with new_model(target) as folder:
        (folder / "done").touch()
    assert sorted(path.name for path in target.parent.iterdir()) == [".mine.lock", "mine"]


def test_a_model_that_is_being_added_is_kept_when_one_with_the_beginning_of_its_name_is(tmp_path: Path) -> None:
    with new_model(tmp_path / "city-2") as running:
        with new_model(tmp_path / "city"):
            pass
        (running / "done").touch()
    assert (tmp_path / "city-2" / "done").exists()


def _hold(target: Path, ready: multiprocessing.synchronize.Event) -> None:
    with new_model(target) as folder:
        (folder / "half").touch()
        ready.set()
        time.sleep(60)


def test_no_damage_of_a_graph_is_anything_but_one_sentence(tmp_path: Path) -> None:
    path = make_tfjs(tmp_path / "web", np.eye(3, 4, dtype=np.float32), side=8)
    whole, chance, sentences = path.read_text(), random.Random(0), []
    for _ in range(150):
        values: Any = json.loads(whole)
        place = values
        while isinstance(place, dict | list) and place:
            parent, key = place, chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
            place = place[key]
            if chance.random() < 0.15:
                break
        parent[key] = chance.choice([None, 7, -3, 10**12, "x", [], {}])
        path.write_text(json.dumps(values))
        try:
            load(path)
        except ModelError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert all(one.startswith(f"{path.parent}") and len(one.splitlines()) == 1 for one in sentences)
