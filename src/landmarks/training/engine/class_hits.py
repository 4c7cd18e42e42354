"""A loss that counts the right predictions of each class on the way."""

from __future__ import annotations

from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn


class CountingLoss(nn.CrossEntropyLoss):
    """Mean cross entropy of a pass without learning, and the accuracy of each class.

    Args:
        classes: Number of classes K.
        fabric: The devices that share the images.
    """

    def __init__(self, classes: int, fabric: Fabric) -> None:
        super().__init__()
        self._fabric = fabric
        self._counts = torch.zeros(2, classes, device=fabric.device)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002 - the names in the base class
        """Count a batch, logits (B, K) and labels (B,), and return its loss."""
        right = (input.argmax(dim=1) == target).float()
        self._counts.index_add_(1, target, torch.stack([torch.ones_like(right), right]))
        return super().forward(input, target)

    def accuracies(self) -> list[float | None]:
        """Return the accuracy of each class over all devices, None for a class without images."""
        counts = cast(Tensor, self._fabric.all_reduce(self._counts.clone(), reduce_op="sum"))
        return [right / count if count else None for count, right in zip(*counts.tolist(), strict=True)]
