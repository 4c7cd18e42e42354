"""A network as an ONNX graph that maps uint8 images to logits and embeddings."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from landmarks.files.atomic import write_bytes
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.models.folding import fold_batch_norms

OPSET = 18


class Network(Protocol):
    """The common interface of `MyModel` and `TransferModel`."""

    head: nn.Module
    embedding_size: int

    def embed(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to embeddings (B, D)."""


class ExportWrapper(nn.Module):
    """The exported network: normalisation, network and both outputs.

    Args:
        model: The network.
        preprocessing: Mean and deviation of the normalisation.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        # (x / 255 - mean) / std as one multiplication and one subtraction on whole rows of pixels: broadcasting
        # three numbers over every pixel takes a fifth of the time of an int8 network in ONNX Runtime.
        self.scale: Tensor
        self.offset: Tensor
        self.register_buffer("scale", (1 / (255 * std)).repeat(preprocessing.crop))
        self.register_buffer("offset", (mean / std).repeat(preprocessing.crop))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, S, S, 3) uint8 to logits (B, K) and embeddings (B, D)."""
        network = cast(Network, self.model)
        rows = pictures.to(torch.float32).flatten(2) * self.scale - self.offset
        # Contiguous: with strided images the exporter turns the last pooling into index computations.
        x = rows.reshape(pictures.shape).permute(0, 3, 1, 2).contiguous()
        embedding = network.embed(x)
        return network.head(embedding), embedding


def write_onnx(model: nn.Module, preprocessing: Preprocessing, path: Path) -> None:
    """Write a network as ONNX, atomically.

    The image size is fixed to the crop of the preprocessing, so all padding is constant; the batch size is
    dynamic.

    Args:
        model: `MyModel` or `TransferModel`; it is left in evaluation mode.
        preprocessing: Preprocessing of its input.
        path: The file to write.

    Raises:
        StorageError: The file cannot be written.
    """
    seen = torch.randn(2, 3, preprocessing.crop, preprocessing.crop, generator=torch.Generator().manual_seed(0))
    graph = ExportWrapper(fold_batch_norms(model.eval(), seen), preprocessing).eval()
    example = torch.zeros(2, preprocessing.crop, preprocessing.crop, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # The exporter warns about its own internals, which a user cannot fix.
    quiet = warnings.catch_warnings(action="ignore")
    with quiet, torch.no_grad(), _out_of_place(graph), _no_garbage_collection():
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["pictures"],
            output_names=["logits", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise AssertionError("the exporter of torch returns a program unless it is given a file")
    model_proto = program.model_proto
    for item in (*model_proto.graph.node, *model_proto.graph.value_info, *model_proto.graph.input):
        # The source locations of the steps: useless to a user, and they reveal folders of this machine.
        del item.metadata_props[:]
    write_bytes(path, model_proto.SerializeToString())


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause it: a quarter of the exporter's time went into looking through objects that it still needs."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _out_of_place(model: nn.Module) -> Iterator[None]:
    """Switch off in-place activations: each costs the exporter 0.1 s, and the graph is the same without."""
    changed: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False)]
    for module in changed:
        module.inplace = False
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True
