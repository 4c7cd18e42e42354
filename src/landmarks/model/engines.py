"""Inference engines: ONNX Runtime, or OpenVINO if it is installed (extra `openvino`).

Both read the same `model.onnx`. ONNX Runtime is a core dependency and is ready in a tenth of a second; OpenVINO
takes about a second to compile a network, so it pays off for many photos (benchmarks/results/bulk.md).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from landmarks.errors import ModelError, needing_extras, require_at_least, require_choice
from landmarks.model import EngineName

ENGINES: tuple[EngineName, ...] = get_args(EngineName)

Output = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Logits (N, K) and embeddings (N, D)."""


class Engine(Protocol):
    """A loaded network, safe to use from several threads."""

    def run(self, pictures: NDArray[np.uint8]) -> Output:
        """Map images (N, crop, crop, 3) to logits and embeddings, in the same order."""


def load_engine(path: Path, *, name: EngineName, threads: int, crop: int, classes: int | None) -> Engine:
    """Load a network.

    Args:
        path: The ONNX file.
        name: The engine.
        threads: Threads per inference, at least 1.
        crop: Required side of the input images, in pixels.
        classes: Required number of logits; None if it outputs only the embedding, and the logits have no columns.

    Raises:
        SettingsError: There is no such engine, or `threads` is below 1.
        ModelError: The file cannot be loaded, or has other inputs or outputs.
        MissingExtraError: OpenVINO is requested and not installed.
    """
    require_choice("engine", name, ENGINES)
    require_at_least("threads", threads)
    load = _load_openvino if name == "openvino" else _load_onnxruntime
    engine, fits = load(path, threads, crop, classes)
    if not fits:
        raise ModelError(f"{path}: the network does not have the input and outputs in model.json: export it again")
    return engine


class _OnnxRuntime:
    def __init__(self, session: onnxruntime.InferenceSession, outputs: list[str]) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = outputs

    def run(self, pictures: NDArray[np.uint8]) -> Output:
        """See `Engine.run`."""
        embeddings, *logits = self._session.run(self._outputs, {self._input: pictures})
        return (logits[0] if logits else _no_logits(embeddings)), embeddings


def open_session(model: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open an ONNX file or its content with ONNX Runtime, which then logs nothing but fatal errors.

    Its errors have no common class.

    Args:
        model: The file, or its content.
        threads: Threads per inference; 0 for one per core.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])


def _load_onnxruntime(path: Path, threads: int, crop: int, classes: int | None) -> tuple[Engine, bool]:
    try:
        session = open_session(path, threads)
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}): export the model again") from error
    inputs = [(item.type, item.shape[1:]) for item in session.get_inputs()]
    outputs = {output.name: output.shape for output in session.get_outputs()}
    fits = (
        inputs == [("tensor(uint8)", [crop, crop, 3])]
        and set(_outputs(classes)) <= set(outputs)
        and (classes is None or outputs["logits"][-1] == classes)
    )
    return _OnnxRuntime(session, _outputs(classes)), fits


def _outputs(classes: int | None) -> list[str]:
    return ["embedding"] if classes is None else ["embedding", "logits"]


def _no_logits(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.empty((len(embeddings), 0), dtype=np.float32)


class _OpenVino:
    def __init__(self, network: Any, outputs: list[str]) -> None:
        self._request = network.create_infer_request()
        self._outputs = outputs
        self._lock = threading.Lock()

    def run(self, pictures: NDArray[np.uint8]) -> Output:
        """See `Engine.run`."""
        with self._lock:  # the next run, of any thread, overwrites the memory of the outputs, so they are copied
            found = self._request.infer([np.ascontiguousarray(pictures)], share_inputs=True)
            embeddings, *logits = [found[name].copy() for name in self._outputs]
        return (logits[0] if logits else _no_logits(embeddings)), embeddings


@needing_extras()
def _load_openvino(path: Path, threads: int, crop: int, classes: int | None) -> tuple[Engine, bool]:
    import openvino  # noqa: PLC0415 - an extra, and half a second to import

    # Unpinned, else the processes of a bulk run would all be pinned to the first core. float32 is kept: on CPUs
    # with bfloat16 OpenVINO would use it, and change probabilities by up to 0.13.
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings |= {"ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": "f32"}
    try:
        core = openvino.Core()
        model = core.read_model(str(path))
        named = {name: output.partial_shape for output in model.outputs for name in output.names}
        fits = (
            [item.element_type for item in model.inputs] == [openvino.Type.u8]
            and model.inputs[0].partial_shape == openvino.PartialShape([-1, crop, crop, 3])
            and set(_outputs(classes)) <= set(named)
            and (classes is None or named["logits"] == openvino.PartialShape([-1, classes]))
        )
        return _OpenVino(core.compile_model(model, "CPU", settings), _outputs(classes)), fits
    except Exception as error:
        raise ModelError(f"{path}: OpenVINO cannot load it ({error}): use `engine` onnxruntime") from error
