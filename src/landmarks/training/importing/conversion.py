"""Converts a PyTorch network to ONNX, and proves that both answer alike.

The exporter is that of TorchScript, the only one that takes a file that was compiled with `torch.jit.script`: the
newer one needs the network's Python source.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from landmarks.errors import ModelError
from landmarks.model.engines import open_session

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between the answers of PyTorch and ONNX, relative to values above 1."""

Network = Callable[[Tensor], Any]


def converted(path: Path, network: Any, inputs: NDArray[Any]) -> onnx.ModelProto:
    """Convert a network to ONNX.

    Args:
        path: Its file, for messages.
        network: A module or a TorchScript module in evaluation mode, of one tensor.
        inputs: Prepared images, (N, 3, S, S) or (N, S, S, 3), N at least 3; both are compared on them. It is
            converted with another number of images, so that the comparison shows that any number will do.

    Raises:
        ModelError: The network cannot be run or converted, or ONNX Runtime answers differently.
    """
    expected = _answers(path, network, torch.from_numpy(inputs))
    example = torch.from_numpy(inputs[:2])
    names = [f"output_{number}" for number in range(len(expected))]
    content = io.BytesIO()
    try:
        # The exporter warns about its own internals, which a user cannot fix.
        with warnings.catch_warnings(action="ignore"), torch.no_grad(), _unprinted_graph():
            torch.onnx.export(
                network,
                (example,),
                # This exporter writes to files in memory too, whatever its annotations.
                f=content,  # type: ignore[arg-type]
                dynamo=False,
                input_names=["image"],
                output_names=names,
                dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
                opset_version=OPSET,
            )
    except Exception as error:  # the exporter raises nearly every type, depending on the operation
        raise ModelError(
            f"{path}: PyTorch cannot export this network to ONNX ({_first_line(error)}): export it to ONNX where "
            "it was trained"
        ) from error
    model = onnx.load_from_string(content.getvalue())
    _compare(path, model, inputs, expected)
    return model


@contextmanager
def _unprinted_graph() -> Iterator[None]:
    """Keep the exporter from printing the whole graph where it fails, from C++; its own switch has no effect."""
    with ExitStack() as stack:
        with suppress(OSError):  # a closed standard output shows nothing anyway
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), 1)
        yield


def _answers(path: Path, network: Network, inputs: Tensor) -> list[NDArray[np.float32]]:
    try:
        with torch.no_grad():
            found = network(inputs)
    except Exception as error:
        raise ModelError(
            f"{path}: the network does not take {len(inputs)} pictures of shape "
            f"{' x '.join(map(str, inputs.shape[1:]))} ({_first_line(error)}): check `preprocessing`"
        ) from error
    tensors = list(found) if isinstance(found, tuple | list) else [found]
    if not tensors or not all(isinstance(one, Tensor) for one in tensors):
        raise ModelError(
            f"{path}: the network answers with a {type(found).__name__}, not with tensors: export one that does"
        )
    return [one.numpy().astype(np.float32) for one in tensors]


def _compare(
    path: Path, model: onnx.ModelProto, inputs: NDArray[Any], expected: list[NDArray[np.float32]]
) -> None:
    try:
        session = open_session(model.SerializeToString())
        found = session.run(None, {session.get_inputs()[0].name: inputs})
    except Exception as error:
        raise ModelError(
            f"{path}: ONNX Runtime cannot run what PyTorch exported ({_first_line(error)}): export it to ONNX "
            "where it was trained"
        ) from error
    for own, other in zip(expected, found, strict=True):
        difference = float(np.abs(own - other).max()) if own.shape == other.shape else float("inf")
        allowed = TOLERANCE * max(1.0, float(np.abs(own).max()))
        # A value that is not a number fails too; its import is refused later, with the reason.
        if difference > allowed:
            raise ModelError(
                f"{path}: PyTorch and ONNX Runtime differ by {difference:.1e} on the same pictures: export it to "
                "ONNX where it was trained"
            )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # TorchScript puts the reason last, below its own traceback.
    reasons = [line for line in lines if line.startswith("RuntimeError:")]
    return (reasons[-1] if reasons else lines[0] if lines else type(error).__name__).rstrip(".:")[:200]
