"""The predictions of a network for the images of a loader, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from landmarks.training.data.loaders import Loader


@torch.no_grad()
def predicted_batches(loader: Loader, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield probabilities (B, K) float32 and labels (B,) int64 of each batch, on the CPU.

    The probabilities of all images together would need 4 N K bytes.
    """
    model.eval()
    device = next(model.parameters()).device
    for images, targets in loader:
        logits = model(images.to(device))
        yield torch.softmax(logits.float(), dim=1).cpu(), targets.cpu()
