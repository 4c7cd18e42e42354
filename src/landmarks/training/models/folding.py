"""Folds batch norms into the convolutions before them: the exporter then has half as much to trace.

Networks that train with several branches for one convolution, such as RepViT and FastViT, are merged into their
form for inference first (Ding et al. 2021, https://arxiv.org/abs/2101.03697).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-4
"""Largest difference of an embedding, whose numbers are below about 1, between a network and its folded copy."""

_BRANCHED = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods by which timm merges branches."""


def fold_batch_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a network with merged branches and without batch norms that directly follow a convolution.

    Args:
        network: `MyModel` or `TransferModel`, in evaluation mode.
        example: Normalised images (B, 3, H, W), to see which follows which and that the copy is equivalent.

    Returns:
        The copy; the network itself where a copy would not be equivalent, such as one that uses the output of a
        convolution twice.
    """
    embedding: Tensor | None = None
    if any(hasattr(module, name) for module in network.modules() for name in _BRANCHED):
        folded, embedding = reparameterize_model(network), _embed(network, example)
    else:
        folded = deepcopy(network)
    pairs, copied = _pairs(folded, example)
    embedding = copied if embedding is None else embedding
    for convolution, norm in pairs:
        if norm.running_mean is None or norm.running_var is None:
            return network
        convolution.weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        convolution.bias = bias
    norms = {id(norm) for _, norm in pairs}
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in norms:
                # The batch norms of timm include the activation.
                setattr(parent, name, getattr(child, "act", nn.Identity()))
    alike = torch.allclose(embedding, _embed(folded, example), rtol=_TOLERANCE, atol=_TOLERANCE)
    return folded if alike else network


def _pairs(network: nn.Module, example: Tensor) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], Tensor]:
    """Return each batch norm whose input is the output of a convolution, with it, and the embedding (B, D)."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with the tensor itself, so that its id stays its own
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def convolved(module: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = module, output

    def normalised(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    hooks = [
        module.register_forward_hook(convolved)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(normalised)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    embedding = _embed(network, example)
    for hook in hooks:
        hook.remove()
    return pairs, embedding


@torch.no_grad()
def _embed(network: nn.Module, example: Tensor) -> Tensor:
    embedding: Tensor = network.embed(example)  # type: ignore[operator]
    return embedding
