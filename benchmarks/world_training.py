"""Fine-tuning for `world`: EfficientNet-Lite0, a cosine head, and a background of many groups.

- The head has a direction for each landmark and for each *group* of background: kinds of ordinary photos, and
  landmarks that must not be claimed (outlier exposure: Hendrycks, Mazeika and Dietterich 2019,
  https://arxiv.org/abs/1812.04606). One direction could not point at bedrooms and at beaches; in the exported
  model the groups are one class `background` again, by the log-sum-exp of their logits.
- Landmarks are learnt with a margin (Wang et al. 2018, CosFace, https://arxiv.org/abs/1801.09414).
- Batch norms are folded into the convolutions first, which makes a step on a CPU more than twice as fast; their
  statistics would stay fixed anyway. The stem and the first stages keep the weights of ImageNet.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from world_augment import augment
from world_data import Pictures, Roles

from landmarks.training.models.backbones import load_backbone

BACKBONE = "efficientnet_lite0"


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        epochs: Passes over the drawn pictures.
        frozen: Stages after the stem that keep their weights.
        rate: Peak learning rate of the backbone.
        head_rate: Of the head.
        sizes: Side of the crops in pixels, in the last epoch and before it.
        batch: Pictures a step.
        scale: What the cosines are multiplied by.
        margin: Taken from the cosine of the right landmark in training.
        smoothing: Label smoothing.
        decay: Weight decay of the convolutions.
        average: Decay a step of the moving average of the weights, which is what is kept.
        fewest: A landmark is shown so many times an epoch at least.
        most: A landmark is shown so many times an epoch at most.
        small: 64-pixel pictures of a landmark an epoch, at most.
        background: Pictures of a kind of ordinary photos an epoch, at most.
        other: Pictures of each landmark that must not be claimed, at most.
        seed: Of everything that is drawn.
    """

    epochs: int = 7
    frozen: int = 3
    rate: float = 4e-4
    head_rate: float = 2e-3
    sizes: tuple[int, int] = (192, 160)
    batch: int = 48
    scale: float = 24.0
    margin: float = 0.1
    smoothing: float = 0.05
    decay: float = 0.02
    average: float = 0.997
    fewest: int = 30
    most: int = 110
    small: int = 60
    background: int = 100
    other: int = 30
    seed: int = 0


class WorldNetwork(nn.Module):
    """A backbone without batch norms and a direction for every landmark and group of background.

    Args:
        groups: How many landmarks and groups.
        frozen: Stages that keep their weights.
    """

    def __init__(self, groups: int, frozen: int) -> None:
        super().__init__()
        loaded = load_backbone(BACKBONE)
        self.backbone: Any = loaded.network.eval()
        fold_norms(self.backbone)
        self.weight = nn.Parameter(torch.randn(groups, loaded.size) / loaded.size**0.5)
        self.frozen = frozen

    def early(self, x: Tensor) -> Tensor:
        """The part that keeps its weights."""
        x = self.backbone.bn1(self.backbone.conv_stem(x))
        for block in self.backbone.blocks[: self.frozen]:
            x = block(x)
        return x

    def late(self, x: Tensor) -> Tensor:
        """The rest, to embeddings (B, D) of unit length."""
        for block in self.backbone.blocks[self.frozen :]:
            x = block(x)
        features = self.backbone.bn2(self.backbone.conv_head(x)).mean((2, 3))
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine to each direction, (B, groups)."""
        return embeddings @ nn.functional.normalize(self.weight, dim=1).t()


def fold_norms(network: nn.Module) -> None:
    """Fold the batch norms of an EfficientNet of timm into the convolutions before them, in place."""
    for child in network.children():
        fold_norms(child)
    pairs: tuple[tuple[str, str], ...] = ()
    if hasattr(network, "conv_stem"):
        pairs = ("conv_stem", "bn1"), ("conv_head", "bn2")
    elif hasattr(network, "conv_pwl"):
        pairs = ("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")
    elif hasattr(network, "conv_dw"):
        pairs = ("conv_dw", "bn1"), ("conv_pw", "bn2")
    for conv_name, norm_name in pairs:
        conv: Any = getattr(network, conv_name)
        norm: Any = getattr(network, norm_name)
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        setattr(network, norm_name, norm.act)


class Sampler:
    """Which pictures an epoch shows: landmarks of few pictures more than once, of many not all."""

    def __init__(self, roles: Roles, recipe: Recipe) -> None:
        self._recipe, self._roles = recipe, roles
        groups = len(roles.known) + len(roles.background)
        self.own: list[list[int]] = [[] for _ in range(groups)]
        self._small: list[list[int]] = [[] for _ in range(groups)]
        for i in roles.of("train", "background", "background_landmark"):
            self.own[roles.photos[i].label].append(int(i))
        for i in roles.of("train_small"):
            self._small[roles.photos[i].label].append(int(i))

    def epoch(self, epoch: int) -> np.ndarray:
        """Positions of the pictures of an epoch, shuffled."""
        recipe, known = self._recipe, len(self._roles.known)
        rng = np.random.default_rng((recipe.seed, epoch, 7))
        drawn = []
        for group, own in enumerate(self.own):
            places = rng.permutation(np.array(own))
            if group >= known:
                is_other = "/" in self._roles.background[group - known]
                drawn.append(places[: recipe.other if is_other else recipe.background])
                continue
            missing = recipe.fewest - len(places)
            if missing > 0:
                places = np.concatenate([places, rng.choice(places, missing)])
            drawn.append(places[: recipe.most])
            if self._small[group]:
                drawn.append(rng.permutation(self._small[group])[: recipe.small])
        return rng.permutation(np.concatenate(drawn))


class _Batches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Whole batches, each from its own seed, so that a worker process may make them."""

    def __init__(self, places: np.ndarray, pictures: Pictures, roles: Roles, recipe: Recipe, epoch: int) -> None:
        self._places, self._pictures, self._labels, self._recipe = places, pictures, roles.labels, recipe
        self._epoch = epoch
        self._last = epoch == recipe.epochs - 1

    def __len__(self) -> int:
        return len(self._places) // self._recipe.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        batch = self._recipe.batch
        places = self._places[index * batch : (index + 1) * batch]
        rng = np.random.default_rng((self._recipe.seed, self._epoch, index))
        size, smallest = (self._recipe.sizes[0], 0.5) if self._last else (self._recipe.sizes[1], 0.3)
        views = [augment(self._pictures[i], rng, size, smallest=smallest) for i in places]
        return torch.from_numpy(np.stack(views)), torch.from_numpy(self._labels[places])


def normalised(views: Tensor) -> Tensor:
    """Views (B, H, W, 3) uint8 as the backbone takes them."""
    return (views.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def train(
    pictures: Pictures, roles: Roles, recipe: Recipe, target: Path, *, start: Path | None = None
) -> WorldNetwork:
    """Train a network and keep it in a file; a file that is there is read instead.

    Args:
        pictures: Decoded.
        roles: Which of them are trained on.
        recipe: How.
        target: Where weights and recipe go.
        start: A file from an earlier training that this one goes on from; what both know keeps its direction.
    """
    groups = [*roles.known, *roles.background]
    torch.manual_seed(recipe.seed)
    network = WorldNetwork(len(groups), recipe.frozen)
    if target.is_file():
        network.load_state_dict(torch.load(target, weights_only=True)["state"])
        return network
    known_directions = _start(network, start) if start else {}
    network = network.to(memory_format=torch.channels_last)
    sampler = Sampler(roles, recipe)
    _point_head(network, pictures, sampler, groups, known_directions)
    average = copy.deepcopy(network)
    steps = sum(len(sampler.epoch(epoch)) // recipe.batch for epoch in range(recipe.epochs))
    optimizer, trained = _optimizer(network, recipe)
    peaks = [group["lr"] for group in optimizer.param_groups]
    began, step = time.monotonic(), 0
    for epoch in range(recipe.epochs):
        hits = seen = 0
        for views, labels in _batches(sampler.epoch(epoch), pictures, roles, recipe, epoch):
            rate = min(1.0, (step + 1) / 150) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            with torch.no_grad():
                early = network.early(normalised(views))
            cosines = network.cosines(network.late(early))
            is_known = (labels < len(roles.known))[:, None]
            margins = recipe.margin * nn.functional.one_hot(labels, len(groups)) * is_known
            loss = nn.functional.cross_entropy(
                recipe.scale * (cosines - margins), labels, label_smoothing=recipe.smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 5.0)
            optimizer.step()
            step += 1
            _follow(average, network, min(recipe.average, (1 + step) / (10 + step)))
            hits += int((cosines.argmax(1) == labels).sum())
            seen += len(labels)
        print(f"epoch {epoch + 1}/{recipe.epochs}: {hits / seen:.3f} right, {time.monotonic() - began:.0f} s")
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state": average.state_dict(), "groups": groups, "recipe": asdict(recipe)}, target)
    return average


def _start(network: WorldNetwork, start: Path) -> dict[str, Tensor]:
    """Fill the backbone from an earlier training and return the directions that it had learnt, by name."""
    earlier = torch.load(start, weights_only=True)
    state = earlier["state"]
    directions = nn.functional.normalize(state.pop("weight"), dim=1)
    network.load_state_dict(state, strict=False)
    return dict(zip(earlier["groups"], directions, strict=True))


@torch.no_grad()
def _point_head(
    network: WorldNetwork,
    pictures: Pictures,
    sampler: Sampler,
    groups: Sequence[str],
    known_directions: dict[str, Tensor],
) -> None:
    """Point each direction at the mean of some of its pictures, seen as they are, or where it pointed before."""
    import cv2

    places = [own[:12] for own in sampler.own]
    flat = [i for own in places for i in own]
    labels = torch.tensor([group for group, own in enumerate(places) for _ in own])
    embeddings = []
    for first in range(0, len(flat), 64):
        crops = [
            cv2.resize(pictures.crop(i), (160, 160), interpolation=cv2.INTER_AREA)
            for i in flat[first : first + 64]
        ]
        embeddings.append(network.late(network.early(normalised(torch.from_numpy(np.stack(crops))))))
    together = torch.cat(embeddings)
    middle = together.mean(0)
    for group, name in enumerate(groups):
        mean = together[labels == group].mean(0) - middle
        network.weight[group] = known_directions.get(name, nn.functional.normalize(mean, dim=0))


def _optimizer(network: WorldNetwork, recipe: Recipe) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    fixed = [network.backbone.conv_stem, *network.backbone.blocks[: recipe.frozen]]
    for part in fixed:
        part.requires_grad_(False)
    trained = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    parts = [
        {"params": [p for p in trained if p.ndim > 1], "lr": recipe.rate, "weight_decay": recipe.decay},
        {"params": [p for p in trained if p.ndim <= 1], "lr": recipe.rate, "weight_decay": 0.0},
        {"params": [network.weight], "lr": recipe.head_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(parts), trained


def _batches(
    places: np.ndarray, pictures: Pictures, roles: Roles, recipe: Recipe, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = _Batches(places, pictures, roles, recipe, epoch)
    yield from torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=8)


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


class ExportedHead(nn.Module):
    """Logits of the landmarks and of one background class, the log-sum-exp over its groups."""

    def __init__(self, directions: Tensor, known: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions)
        self.known = known

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings (B, D) to logits (B, known + 1)."""
        logits = embeddings @ self.directions.t()
        groups = logits[:, self.known :]
        largest = groups.max(1, keepdim=True)[0]
        background = largest + (groups - largest).exp().sum(1, keepdim=True).log()
        return torch.cat([logits[:, : self.known], background], 1)


class ExportedNetwork(nn.Module):
    """What `landmarks.training.models.onnx_graph` writes: embedding and head of a trained network."""

    def __init__(self, network: WorldNetwork, known: int, scale: float) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.backbone.reset_classifier(0)
        directions = nn.functional.normalize(network.weight.detach(), dim=1) * scale
        self.head = ExportedHead(directions, known)
        self.embedding_size = directions.shape[1]

    def embed(self, x: Tensor) -> Tensor:
        """Map normalised pictures (B, 3, H, W) to embeddings (B, D) of unit length."""
        features: Tensor = self.backbone(x)
        return features / features.norm(p=2.0, dim=1, keepdim=True).clamp_min(1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures to logits."""
        logits: Tensor = self.head(self.embed(x))
        return logits
