"""Transfer learning: a pretrained backbone with a new head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.models.backbones import Backbone, load_backbone
from landmarks.training.models.heads import HeadFactory


class TransferModel(nn.Module):
    """A backbone, its features scaled to unit length, dropout and a head.

    Unit length removes the effect of brightness and contrast from the features; a linear head on them is at least
    as good as one on the raw features on every data set tried, and the same vector serves for search by cosine.

    Args:
        backbone: From `landmarks.training.models.backbones.load_backbone`.
        num_classes: Number of classes K.
        dropout: Fraction of the embedding dropped in training, in [0, 1).
        head: Makes the head from the embedding dimension and K.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, dropout: float = 0.0, *, head: HeadFactory = nn.Linear
    ) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.dropout = nn.Dropout(dropout)
        self.head = head(backbone.size, num_classes)
        self.embedding_size = backbone.size
        self.freeze()

    def freeze(self) -> None:
        """Train only the head."""
        self.backbone.requires_grad_(False)

    def unfreeze(self, frozen: int = 0) -> None:
        """Train the backbone too.

        Args:
            frozen: Stages that keep their weights, from the first on.
        """
        self.backbone.requires_grad_(True)
        for names in self.stages()[:frozen]:
            for name in names:
                self.backbone.get_parameter(name).requires_grad_(False)

    def stages(self) -> list[list[str]]:
        """Return the names of the parameters of each stage of the backbone, from the stem on.

        A few families of timm do not say what their stages are: the list is empty then.
        """
        backbone: Any = self.backbone
        try:
            matcher = backbone.group_matcher(coarse=True)
        except (AttributeError, AssertionError):
            return []
        return list(group_parameters(backbone, matcher).values())

    def train(self, mode: bool = True) -> Self:
        """Switch dropout; the batch-norm statistics of the backbone stay those of the pretraining.

        A few thousand images in small batches would only degrade them.
        """
        super().train(mode)
        self.backbone.eval()
        for module in self.backbone.modules():
            if hasattr(module, "attention_bias_cache"):
                module.training = mode  # it would reuse biases that the last step has changed
        return self

    @torch.jit.export
    def embed(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to embeddings (B, D) of unit length."""
        features: Tensor = self.backbone(x)
        # `functional.normalize` without its expansion, which would query the shape in an exported graph.
        length: Tensor = features.norm(p=2.0, dim=1, keepdim=True)
        return features / length.clamp_min(1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to raw logits (B, K)."""
        logits: Tensor = self.head(self.dropout(self.embed(x)))
        return logits


class Head(nn.Module):
    """The trainable end of a `TransferModel`, for training on cached embeddings.

    Args:
        model: The model whose dropout and head are used; they are shared, not copied.
    """

    def __init__(self, model: TransferModel) -> None:
        super().__init__()
        self.dropout = model.dropout
        self.head = model.head

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings (B, D) to raw logits (B, K)."""
        logits: Tensor = self.head(self.dropout(embedding))
        return logits


def get_model_transfer_learning(
    name: str = "efficientnet_lite0",
    num_classes: int = 50,
    *,
    dropout: float = 0.0,
    weights: Path | None = None,
    pretrained: bool = True,
    head: HeadFactory = nn.Linear,
) -> tuple[TransferModel, Preprocessing]:
    """Return a frozen pretrained backbone with a new head, and the preprocessing it needs.

    Args:
        name: A backbone (see `landmarks.training.models.backbones`).
        num_classes: Number of classes.
        dropout: Fraction of the embedding dropped in training.
        weights: A local weights file, or None for the installed package's.
        pretrained: False builds the network without weights, for `load_state_dict`.
        head: Makes the head from the embedding dimension and the number of classes.

    Raises:
        ModelError: The backbone is unknown or its weights do not fit.
        MissingExtraError: The package with the weights is not installed.
    """
    backbone = load_backbone(name, weights, pretrained=pretrained)
    model = TransferModel(backbone, num_classes, dropout, head=head)
    return model, Preprocessing(mean=backbone.mean, std=backbone.std)
