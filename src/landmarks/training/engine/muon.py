"""Muon: AdamW whose steps of convolutions are made orthogonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: they bring singular values from 0.01 to 1 near 1 in five steps, none above 1.25."""
ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.AdamW):
    """Momentum with orthogonal steps for convolutions, AdamW for all else (Jordan et al. 2024).

    The momentum of a weight, as a matrix of output channels by inputs, is replaced by the nearest matrix whose
    singular values are all about 1. So directions that are rare in the gradients are learnt as fast as the few
    that dominate them (https://kellerjordan.github.io/posts/muon/). The root mean square of the step is the
    learning rate, so that both share it, and the weight decay; Liu et al. 2025 (https://arxiv.org/abs/2502.16982)
    take a fifth of that, which learns more slowly here.

    `torch.optim.Muon` takes matrices alone, and timm's computes in bf16, in some forty times as long on a CPU
    without instructions for it.

    Args:
        groups: Parameters with their `lr`, `weight_decay` and `orthogonal`: True for weights (outputs, inputs,
            ...) that get orthogonal steps.
        fused: For the part of AdamW.
    """

    def __init__(self, groups: list[dict[str, Any]], *, fused: bool) -> None:
        super().__init__(groups, fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the weights by one step; those with orthogonal steps have no gradient afterwards."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients before the step")
        for group in self.param_groups:
            for weight in group["params"] if group["orthogonal"] else ():
                if weight.grad is not None:
                    self._orthogonal_step(weight, weight.grad, group)
                    weight.grad = None  # AdamW passes over it
        super().step()

    def _orthogonal_step(self, weight: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            # By the names of AdamW, which looks at all states when it loads them.
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(gradient)
        state["step"] += 1
        momentum = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov
        size = max(matrix.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(orthogonalized(matrix).reshape(weight.shape), alpha=group["lr"] * size)


def is_orthogonal(weight: nn.Parameter) -> bool:
    """Return whether a weight gets orthogonal steps: that of a convolution which mixes channels.

    The head and weights of one dimension are better off with AdamW (Jordan et al. 2024), and a depthwise
    convolution is no matrix of channels.
    """
    return weight.ndim == 4 and weight.shape[1] > 1


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return the matrix (M, N) with its singular values brought near 1, approximately U V^T of its U S V^T.

    The iteration is X <- p(X X^T) X with p(A) = aI + bA + cA^2. The factors p commute, so they are multiplied on
    the small side, and the long side is seen twice only: half the time of the usual form for the shapes of
    `MyModel`, and the same result in 32 bits.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalized(matrix.T).T
    a, b, c = COEFFICIENTS
    unit = matrix.float() / matrix.norm().clamp(min=1e-7)
    gram = unit @ unit.T
    product = torch.eye(len(gram), device=gram.device)
    for _ in range(ITERATIONS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        gram = factor @ gram @ factor
    result: Tensor = product @ unit
    return result
