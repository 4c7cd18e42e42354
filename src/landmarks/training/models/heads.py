"""Heads for many classes: logits from cosines, and an optional additive angular margin in training.

A linear head separates classes by direction and length of its rows, and rows of frequent classes grow long. A
cosine head uses only directions, called centres, which suits very many classes, some with few images, such as the
81,000 of Google Landmarks v2. The network remains a function of the image: the margin, which needs the label, is
part of the loss, so export, calibration and evaluation see plain logits however a head was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from landmarks.errors import require_choice
from landmarks.training.config.settings import ModelSettings

HeadFactory = Callable[[int, int], nn.Module]
"""Makes a head from the embedding dimension D and the number of classes K."""


class CosineHead(nn.Module):
    """Scaled cosine between an embedding and the nearest centre of each class.

    One centre per class is the head of ArcFace (Deng et al. 2019, https://arxiv.org/abs/1801.07698). With several,
    the images of a class can form groups, such as a building from outside and inside, or wrong labels (Deng et al.
    2020, https://doi.org/10.1007/978-3-030-58621-8_43).

    Args:
        features: Dimension D of the embedding, whose norm does not matter.
        num_classes: Number of classes K.
        sub_centers: Centres per class, at least 1.
        scale: Factor on the cosines, above 0: logits are between `-scale` and `scale`.
    """

    def __init__(self, features: int, num_classes: int, sub_centers: int = 1, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, sub_centers, features))
        nn.init.normal_(self.weight, std=features**-0.5)  # centres of about unit length

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings (B, D) to raw logits (B, K), in 32 bits even under mixed precision."""
        # A script does not run under mixed precision, and `autocast` cannot be compiled into one.
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._logits(embedding)
        # bf16 resolves cosines near 1 only to 0.004, which is 0.1 of a logit.
        with torch.autocast(embedding.device.type, enabled=False):
            return self._logits(embedding)

    def _logits(self, embedding: Tensor) -> Tensor:
        direction = embedding.float()
        direction = direction / direction.norm(p=2.0, dim=1, keepdim=True).clamp_min(1e-12)
        # Divide the products, not the centres, to avoid a normalised copy of a large matrix.
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
    """Return the cosine of an increased angle: cos(arccos(cosine) + margin).

    Beyond 180 degrees the cosine would rise again; from there on the result falls as `cosine` does. The gradient
    is finite everywhere, even at cosines of -1 and 1.

    Args:
        cosine: Any shape, in [-1, 1]; values outside by a rounding error are fine.
        margin: Radians in [0, pi / 2), one for all or one for each.
    """
    # A number is filled in on the device: `as_tensor` would copy it there, and wait.
    turn = margin.to(cosine) if isinstance(margin, Tensor) else cosine.new_full((), margin)
    sine = (1 - cosine.square()).clamp_min(1e-12).sqrt()
    turned = cosine * turn.cos() - sine * turn.sin()
    return torch.where(cosine > -turn.cos(), turned, cosine + turn.cos() - 1)


class MarginLoss(nn.Module):
    """A loss on the logits of a cosine head, with a margin added to the angle of the target (ArcFace).

    For blended targets (MixUp, CutMix) each class gets a share of the margin proportional to its share of the
    target.

    Args:
        loss: Loss on (logits, targets), for example cross entropy with label smoothing.
        scale: Scale of the cosine head.
        margin: Margin in radians, in [0, pi / 2): one for all classes or one for each, (K,).
    """

    def __init__(self, loss: nn.Module, scale: float, margin: float | Tensor) -> None:
        super().__init__()
        self.loss = loss
        self.scale = scale
        self.margin = margin

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K), for labels (B,) int64 or shares (B, K)."""
        if isinstance(self.margin, Tensor) and self.margin.device != logits.device:
            self.margin = self.margin.to(logits.device)
        if targets.ndim == 1:  # only one logit per row changes, so the other angles are not computed
            column = targets.unsqueeze(1)
            margin = self.margin[column] if isinstance(self.margin, Tensor) else self.margin
            own = self.scale * add_margin(logits.gather(1, column) / self.scale, margin)
            moved = logits.scatter(1, column, own)
        else:
            moved = self.scale * add_margin(logits / self.scale, self.margin * targets)
        value: Tensor = self.loss(moved, targets)
        return value


def head_factory(settings: ModelSettings) -> HeadFactory:
    """Return the head factory for the settings.

    Raises:
        SettingsError: There is no such head.
    """
    require_choice("head", settings.head, ("linear", "cosine"))
    if settings.head == "linear":
        return nn.Linear
    return partial(CosineHead, sub_centers=settings.sub_centers, scale=settings.scale)


def margins_by_count(counts: Sequence[int], margin: float, rare_margin: float) -> Tensor:
    """Return a margin for each class, (K,): the fewer images it has, the larger.

    Dynamic margins of Ha, Liu, Liu and Liao 2020, https://arxiv.org/abs/2010.05350: a * n**-0.25 + b for a class
    of n images, where a and b are such that the largest class has `margin` and the smallest `rare_margin`.

    Args:
        counts: Number of training images of each class, each at least 1.
        margin: Margin of the largest class, in radians.
        rare_margin: Margin of the smallest.
    """
    rarity = torch.tensor(counts, dtype=torch.float64).clamp_min(1) ** -0.25
    low, high = rarity.min(), rarity.max()
    share = (rarity - low) / (high - low) if high > low else torch.zeros_like(rarity)
    return (margin + (rare_margin - margin) * share).float()


def head_loss(loss: nn.Module, settings: ModelSettings, counts: Sequence[int] = ()) -> nn.Module:
    """Return the training loss for the head in the settings: `loss`, with a margin if there is one.

    Args:
        loss: Loss on (logits, targets).
        settings: Head, scale and margins.
        counts: Number of training images of each class, for margins that depend on it.
    """
    if settings.head == "linear":
        return loss
    if settings.rare_margin is not None:
        return MarginLoss(loss, settings.scale, margins_by_count(counts, settings.margin, settings.rare_margin))
    return loss if settings.margin == 0 else MarginLoss(loss, settings.scale, settings.margin)
