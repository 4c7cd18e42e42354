"""Heads for many classes: logits from cosines, and the additive angular margin that their training can have.

A linear head tells classes apart by direction and length of its rows, and rows of frequent classes grow long. A
cosine head has directions alone, called centres, which suits very many classes with few pictures of some, such as
the 81,000 of Google Landmarks v2. The network stays a function of the picture: the margin, which needs the label,
is part of the loss, so that export, calibration and evaluation see plain logits however a head was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from landmarks.errors import require_choice
from landmarks.training.config.settings import ModelSettings

HeadFactory = Callable[[int, int], nn.Module]
"""Makes a head from the length D of an embedding and the number of classes K."""


class CosineHead(nn.Module):
    """Scaled cosine between an embedding and the nearest of the centres of each class.

    One centre per class is the head of ArcFace (Deng et al. 2019, https://arxiv.org/abs/1801.07698). Several let
    the pictures of a class fall into groups, such as a building from outside and from within, or wrong labels
    (Deng et al. 2020, https://doi.org/10.1007/978-3-030-58621-8_43).

    Args:
        features: Length D of the embedding, which may have any length.
        num_classes: Number of classes K.
        sub_centers: Centres per class, at least 1.
        scale: Factor on the cosines, above 0: logits lie between `-scale` and `scale`.
    """

    def __init__(self, features: int, num_classes: int, sub_centers: int = 1, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, sub_centers, features))
        nn.init.normal_(self.weight, std=features**-0.5)  # centres of about unit length

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings (B, D) to raw logits (B, K), in 32 bits also where the network computes in fewer."""
        # A script is not run in fewer bits, and `autocast` cannot be compiled into one.
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._logits(embedding)
        # bf16 knows cosines near 1 to 0.004 only, which is 0.1 of a logit.
        with torch.autocast(embedding.device.type, enabled=False):
            return self._logits(embedding)

    def _logits(self, embedding: Tensor) -> Tensor:
        direction = embedding.float()
        direction = direction / direction.norm(p=2.0, dim=1, keepdim=True).clamp_min(1e-12)
        # The products are divided, not the centres: no normalised copy of a matrix of many classes is made.
        # A division, because `quantization` would round a multiplication to 8 bits.
        lengths = self.weight.norm(p=2.0, dim=2).clamp_min(1e-12)
        products = nn.functional.linear(direction, self.weight.flatten(0, 1))
        logits: Tensor = products / (lengths.flatten() / self.scale)
        if lengths.shape[1] == 1:
            return logits
        # `max` rather than `amax`, whose gradient is several times slower.
        best: Tensor = logits.unflatten(1, lengths.shape).max(2)[0]  # type: ignore[no-untyped-call]
        return best


def add_margin(cosine: Tensor, margin: float | Tensor) -> Tensor:
    """Return the cosine of an angle made larger: cos(arccos(cosine) + margin).

    Where the larger angle would pass 180 degrees its cosine would rise again; from there on the result falls as
    `cosine` does. The gradient is finite everywhere, also at cosines of -1 and 1.

    Args:
        cosine: Any shape, in [-1, 1]; values outside by a rounding error are fine.
        margin: Radians in [0, pi / 2), one for all or one for each.
    """
    turn = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    sine = (1 - cosine.square()).clamp_min(1e-12).sqrt()
    turned = cosine * turn.cos() - sine * turn.sin()
    return torch.where(cosine > -turn.cos(), turned, cosine + turn.cos() - 1)


class MarginLoss(nn.Module):
    """A loss on the logits of a cosine head, with an angle added to that of the target (ArcFace).

    Of blended targets (MixUp, CutMix) each class has the share of the margin that it has of the target.

    Args:
        loss: On (logits, targets), for example cross entropy with label smoothing.
        scale: Of the cosine head.
        margin: In radians, in [0, pi / 2).
    """

    def __init__(self, loss: nn.Module, scale: float, margin: float) -> None:
        super().__init__()
        self.loss = loss
        self.scale = scale
        self.margin = margin

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K), for labels (B,) int64 or shares (B, K)."""
        if targets.ndim == 1:  # of each row one logit moves: the angles of the others are not computed
            column = targets.unsqueeze(1)
            own = self.scale * add_margin(logits.gather(1, column) / self.scale, self.margin)
            moved = logits.scatter(1, column, own)
        else:
            moved = self.scale * add_margin(logits / self.scale, self.margin * targets)
        value: Tensor = self.loss(moved, targets)
        return value


def head_factory(settings: ModelSettings) -> HeadFactory:
    """Return what makes the head that the settings name.

    Raises:
        SettingsError: There is no such head.
    """
    require_choice("head", settings.head, ("linear", "cosine"))
    if settings.head == "linear":
        return nn.Linear
    return partial(CosineHead, sub_centers=settings.sub_centers, scale=settings.scale)


def head_loss(loss: nn.Module, settings: ModelSettings) -> nn.Module:
    """Return the loss that trains the head of the settings: `loss`, with the margin where there is one."""
    if settings.head == "linear" or settings.margin == 0:
        return loss
    return MarginLoss(loss, settings.scale, settings.margin)
