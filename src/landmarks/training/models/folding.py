"""Folds batch norms into the convolutions before them.

The exporter then has half as much to trace, and fine-tuning, which keeps the statistics of the norms, passes over
the activations half as often.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-4
"""Largest difference of an embedding, whose numbers are below about 1, between a network and its folded copy."""

_BRANCHED = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods by which timm merges branches."""


def fold_batch_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a network with merged branches and without batch norms that directly follow a convolution.

    Networks that train with several branches for one convolution, such as RepViT and FastViT, are merged into
    their form for inference first (Ding et al. 2021, https://arxiv.org/abs/2101.03697).

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
    without: dict[int, nn.Module] = {}
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
        # The batch norms of timm include the activation.
        without[id(norm)] = getattr(norm, "act", nn.Identity())
    _put(without, folded)
    return folded if _alike(embedding, _embed(folded, example)) else network


def fold_for_training(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a network that does the work of batch norms in the convolutions before them.

    It has the parameters of before, under their names, and they learn as before: a norm is folded into its
    convolution anew in each step, which costs little beside two passes over all activations.

    Args:
        network: `MyModel` or `TransferModel`, in evaluation mode: the statistics of the norms stay as they are.
        example: Normalised images (B, 3, H, W), to see which follows which and that the copy is equivalent.

    Returns:
        The copy; the network itself where a copy would not be equivalent, such as one that uses the output of a
        convolution twice.
    """
    folded = deepcopy(network)
    pairs, embedding = _pairs(folded, example)
    replaced: dict[int, nn.Module] = {}
    for convolution, norm in pairs:
        # Other subclasses may do more than convolve.
        if type(convolution) in (nn.Conv2d, Conv2dSame) and norm.affine and norm.running_var is not None:
            bare = FoldedNorm(norm)
            replaced[id(convolution)], replaced[id(norm)] = FoldedConv2d(convolution, bare), bare
    _put(replaced, folded)
    return folded if replaced and _alike(embedding, _embed(folded, example)) else network


class FoldedNorm(nn.Module):
    """What is left of a batch norm: its parameters and statistics, under their names, and its activation.

    Args:
        norm: With statistics; those of timm include an activation.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        for name, value in norm.named_buffers():
            self.register_buffer(name, value)
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation."""
        activated: Tensor = self.act(x)
        return activated


class FoldedConv2d(nn.Conv2d):
    """A convolution that also does the work of the batch norm after it.

    Args:
        convolution: Its parameters are used, not copied.
        norm: What is left of the batch norm.
    """

    def __init__(self, convolution: nn.Conv2d, norm: FoldedNorm) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            convolution.dilation,  # type: ignore[arg-type]
            convolution.groups,
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self._pads_as_needed = isinstance(convolution, Conv2dSame)
        self._norm = (norm,)  # in a tuple, so that it does not become a part with names of its own

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W) and normalise."""
        if self._pads_as_needed:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)  # type: ignore[arg-type]
        (norm,) = self._norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = -norm.running_mean if self.bias is None else self.bias - norm.running_mean
        convolved: Tensor = self._conv_forward(
            x, self.weight * scale[:, None, None, None], norm.bias + bias * scale
        )
        return convolved


def _put(others: dict[int, nn.Module], network: nn.Module) -> None:
    """Replace parts of a network, which are named by their `id`."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in others:
                setattr(parent, name, others[id(child)])


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)


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
