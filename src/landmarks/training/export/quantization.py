"""Static int8 quantisation of an ONNX model: 7-bit weights per channel, 8-bit activations.

The method is post-training quantisation in QDQ format (Jacob et al. 2018, https://arxiv.org/abs/1712.05877), by
ONNX Runtime; ranges come from training images.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from landmarks.files.atomic import atomic_path


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self._rest: Iterator[NDArray[np.uint8]] = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next image as a batch of one, or None at the end."""
        picture = next(self._rest, None)
        return None if picture is None else {"pictures": picture[None]}


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Hide ONNX Runtime's advice on preparing models, which it logs to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def quantize(source: Path, target: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Write an int8 copy of an fp32 model, atomically.

    Convolutions and the steps between them are quantised; normalisation, the last pooling and the head stay in
    fp32: they cost next to nothing, and logits and embedding keep their precision.

    Args:
        source: From `landmarks.training.models.onnx_graph.write_onnx`.
        target: The file to write.
        pictures: Prepared training images (S, S, 3) uint8 that set the ranges; a hundred or two are enough.

    Raises:
        StorageError: The file cannot be written.
    """
    with _quiet_root_logger(), tempfile.TemporaryDirectory() as folder, atomic_path(target) as temporary:
        folded = Path(folder) / "folded.onnx"
        # Fold padding and batch norms into the convolutions first, so that no step between them is rounded.
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded),
            str(temporary),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # 7-bit weights: sums of 8-bit ones overflow on processors without VNNI, where the same model would
            # give different answers.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_normalisation(folded),
            op_types_to_quantize=["Conv", "Add", "Mul", "AveragePool", "Clip", "Relu"],
            extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.01},
        )


def _normalisation(path: Path) -> list[str]:
    """Return the names of the steps before the first convolution.

    Quantised, they would round the image twice before the network sees it, and take longer than in fp32.
    """
    steps = takewhile(lambda node: node.op_type != "Conv", onnx.load(path).graph.node)
    return [node.name for node in steps]
