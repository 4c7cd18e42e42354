"""`MyModel`: our own network, trained from scratch.

Both networks of the package, this one and `landmarks.training.models.transfer.TransferModel`, have the same
three methods: `embed` (images to embedding), `head` (embedding to logits) and `forward` (images to logits).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from landmarks.training.config.settings import ModelSettings
from landmarks.training.models.heads import HeadFactory


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Return convolution, batch normalisation (so no bias is needed) and by default ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, https://arxiv.org/abs/1709.01507).

    Args:
        channels: Channels of the input and the output.
        reduction: Factor by which the bottleneck is narrower.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.excite = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of (B, C, H, W) by a weight in (0, 1) computed from all channel means."""
        if self.training:
            # On the rows of channels as which batches lie in memory in training: half the time on a CPU.
            pixels = x.flatten(2).transpose(1, 2)
            weight = torch.relu(self.squeeze(pixels.mean(1)[:, :, None, None]))
            scaled = pixels * torch.sigmoid(self.excite(weight)).flatten(2).transpose(1, 2)
            return scaled.transpose(1, 2).reshape(x.shape)
        weight = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.excite(weight))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385).

    The shortcut of a strided block averages before it projects, so no pixel is skipped (ResNet-D, He et al.
    2019, https://arxiv.org/abs/1812.01187).

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: 1, or 2 to halve height and width.
        attention: Add squeeze-and-excitation to the branch.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, attention: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(inputs, outputs, stride=stride),
            conv_norm(outputs, outputs, relu=False),
            SqueezeExcite(outputs) if attention else nn.Identity(),
        )
        shortcut: list[nn.Module] = []
        if stride == 2:
            # Rounds up like the strided convolution, so that any image size works.
            shortcut.append(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False))
        if inputs != outputs:
            shortcut.append(conv_norm(inputs, outputs, 1, relu=False))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return torch.relu(self.shortcut(x) + self.branch(x))


class MyModel(nn.Module):
    """Residual network for a few thousand landmark photos and a machine without a GPU.

    A stem of two strided convolutions reduces 224 pixels to 56 at once, because full resolution costs most and
    contributes least; then four stages of residual blocks, each with half the size and twice the width of the
    previous one; then global average pooling, dropout and a head. Because of the pooling, the network accepts any
    image from 32 pixels up: training starts with small crops and ends with larger ones, and test images may be
    larger still (Touvron et al. 2019, https://arxiv.org/abs/1906.06423). Dense 3 x 3 convolutions run three to six
    times faster on a CPU than the depthwise ones of mobile networks, which outweighs their larger number of
    operations here. `benchmarks/results/ablation.md` compares the parts on a short schedule.

    Args:
        num_classes: Number of classes K, at least 2.
        dropout: Fraction of the embedding dropped in training, in [0, 1).
        widths: Channels of the stages; the last is the dimension of the embedding.
        depths: Residual blocks of the stages.
        attention: Use squeeze-and-excitation in the blocks.
        head: Makes the head from the embedding dimension and K.

    Raises:
        ValueError: `num_classes` is below 2, or `widths` and `depths` differ in length.
    """

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.0,
        *,
        widths: Sequence[int] = ModelSettings.widths,
        depths: Sequence[int] = ModelSettings.depths,
        attention: bool = True,
        head: HeadFactory = nn.Linear,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, not {num_classes}")
        if len(widths) != len(depths):
            raise ValueError(f"widths and depths must be of one length, not {len(widths)} and {len(depths)}")
        self.stem = nn.Sequential(
            conv_norm(3, widths[0] // 2, stride=2),
            conv_norm(widths[0] // 2, widths[0], stride=2),
        )
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width, stride, attention=attention))
                channels = width
        self.stages = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = head(channels, num_classes)
        self.embedding_size = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @torch.jit.export
    def embed(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to embeddings (B, widths[-1]), not normalised."""
        embedding: Tensor = self.stages(self.stem(x)).mean((2, 3))
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W), H and W at least 32, to raw logits (B, num_classes)."""
        logits: Tensor = self.head(self.dropout(self.embed(x)))
        return logits
