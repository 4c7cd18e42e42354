"""An int8 copy is smaller, gives nearly the same answers, and is written atomically."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.export.quantization import quantize
from landmarks.training.models.model import MyModel
from landmarks.training.models.onnx_graph import write_onnx

CONTRACT = Preprocessing(resize=40, crop=36)  # 9 pixels after the stem: the pooling has to round up


def pictures(count: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    enlarged: np.ndarray = coarse.repeat(6, axis=1).repeat(6, axis=2)
    return enlarged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    write_onnx(MyModel(3, widths=(16, 32), depths=(1, 1)), CONTRACT, folder / "fp32.onnx")
    quantize(folder / "fp32.onnx", folder / "int8.onnx", list(pictures(20)))
    return folder


def run(path: Path, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers: list[np.ndarray] = session.run(["logits", "embedding"], {"pictures": batch})
    return answers


@pytest.mark.parametrize("count", [1, 2, 5])
def test_answers_are_nearly_those_of_the_original(folder: Path, count: int) -> None:
    for exact, rounded in zip(
        run(folder / "fp32.onnx", pictures(count, 1)), run(folder / "int8.onnx", pictures(count, 1)), strict=True
    ):
        assert rounded.shape == exact.shape
        assert rounded.dtype == np.float32
        assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact)


def test_convolutions_are_8_bit_and_the_head_is_not(folder: Path) -> None:
    graph = onnx.load(folder / "int8.onnx").graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            assert {made_by[name] for name in node.input[:2]} == {"DequantizeLinear"}
        if node.op_type in {"Gemm", "MatMul"}:
            assert "DequantizeLinear" not in {made_by.get(name) for name in node.input}
    assert (folder / "int8.onnx").stat().st_size < 0.7 * (folder / "fp32.onnx").stat().st_size


def test_the_normalisation_stays_in_fp32(folder: Path) -> None:
    """Only its result is rounded, once, for the first convolution."""
    graph = onnx.load(folder / "int8.onnx").graph
    makers = {output: node for node in graph.node for output in node.output}
    node = next(node for node in graph.node if node.op_type == "Conv")
    steps = []
    while node.input and node.input[0] in makers:
        node = makers[node.input[0]]
        steps.append(node.op_type)
    assert steps.count("QuantizeLinear") == 1
    assert steps.index("QuantizeLinear") < steps.index("Sub") < steps.index("Mul") < steps.index("Cast")


def test_nothing_but_the_model_is_left_and_the_logger_is_as_before(folder: Path, tmp_path: Path) -> None:
    level = logging.getLogger().level
    quantize(folder / "fp32.onnx", tmp_path / "int8.onnx", list(pictures(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    assert logging.getLogger().level == level


def test_a_failure_leaves_the_old_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    target.write_bytes(b"old")
    with pytest.raises(Exception, match=r"."):  # pictures of another size: the runtime refuses them
        quantize(folder / "fp32.onnx", target, [np.zeros((4, 4, 3), np.uint8)])
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
