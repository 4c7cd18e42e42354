"""Fine-tuning for `world`: EfficientNet-Lite, a cosine head, and a background of many groups.

- The head has a direction for each landmark and for each *group* of background: kinds of ordinary photos, and
  landmarks that must not be claimed (outlier exposure: Hendrycks, Mazeika and Dietterich 2019,
  https://arxiv.org/abs/1812.04606). One direction could not point at bedrooms and at beaches; in the exported
  model the groups are one class `background` again, by the log-sum-exp of their logits.
- Landmarks are learnt with a margin (Wang et al. 2018, CosFace, https://arxiv.org/abs/1801.09414).
- Batch norms are folded into the convolutions first, which makes a step on a CPU more than twice as fast; their
  statistics would stay fixed anyway. The stem and the first stages keep the weights of ImageNet.
- A larger network (the teacher) is trained first; the exported one learns from its probabilities as well as from
  the labels (Hinton et al. 2015, https://arxiv.org/abs/1503.02531). Both see the same view, the teacher at its
  full size (Beyer et al. 2022, https://arxiv.org/abs/2106.05237).

Several networks may be trained on the same views at once, so that a comparison costs no second augmentation.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
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

VIEW = 224
"""Side of the views in pixels; a network that trains on smaller ones shrinks them."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        backbone: Name of a pretrained network.
        frozen: Stages after the stem that keep their weights.
        rate: Peak learning rate of the backbone.
        head_rate: Peak learning rate of the head.
        sizes: Side of the training views in pixels, before and in the last epochs.
        scale: What the cosines are multiplied by.
        margin: Taken from the cosine of the right landmark in training.
        smoothing: Label smoothing.
        decay: Weight decay of the convolutions.
        average: Decay per step of the moving average of the weights, which is what is saved.
        distilled: Share of the loss that compares with the teacher, where there is one.
    """

    backbone: str = "efficientnet_lite0"
    frozen: int = 2
    rate: float = 6e-4
    head_rate: float = 3e-3
    sizes: tuple[int, int] = (176, 208)
    scale: float = 24.0
    margin: float = 0.1
    smoothing: float = 0.05
    decay: float = 0.02
    average: float = 0.998
    distilled: float = 0.7


@dataclass(frozen=True)
class Plan:
    """What all networks of a training see.

    Attributes:
        epochs: Passes over the drawn images.
        last: How many of them, at the end, show larger parts at a larger size.
        batch: Images per step.
        fewest: A landmark is shown at least so many times per epoch.
        most: A landmark is shown at most so many times per epoch.
        small: Most 64-pixel images of a landmark per epoch.
        background: Most images of a kind of ordinary photos per epoch.
        other: Most images of each landmark that must not be claimed per epoch.
        seconds: Wall-clock limit; where it is short, the schedule follows the clock and ends with it.
        seed: Of everything that is drawn.
    """

    epochs: int = 26
    last: int = 4
    batch: int = 128
    fewest: int = 30
    most: int = 110
    small: int = 60
    background: int = 100
    other: int = 30
    seconds: float = math.inf
    seed: int = 0


STUDENT = Recipe()
VARIANTS = {
    "plain": Recipe(distilled=0),
    "no_margin": Recipe(distilled=0, margin=0.0),
    "margin_3": Recipe(distilled=0, margin=0.3),
}
"""For comparison: without the teacher, and with other margins."""

TEACHER = Recipe(backbone="efficientnet_lite2", rate=4e-4, sizes=(208, 224), distilled=0)
TEACHER_PLAN = Plan(epochs=12, last=3, seed=1)


class WorldNetwork(nn.Module):
    """A backbone without batch norms and a direction for every landmark and group of background.

    Args:
        groups: How many landmarks and groups.
        recipe: Names the backbone and how much of it keeps its weights.
    """

    def __init__(self, groups: int, recipe: Recipe) -> None:
        super().__init__()
        loaded = load_backbone(recipe.backbone)
        self.backbone: Any = loaded.network.eval()
        fold_norms(self.backbone)
        self.weight = nn.Parameter(torch.randn(groups, loaded.size) / loaded.size**0.5)
        self.frozen = recipe.frozen

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
        features = self.backbone.bn2(self.backbone.conv_head(x)).float().mean((2, 3))
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def cosines(self, x: Tensor) -> Tensor:
        """Cosine of normalised images (B, 3, H, W) to each direction, (B, groups); bf16 inside on a GPU."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
            with torch.no_grad():
                early = self.early(x)
            embeddings = self.late(early)
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
    """Which images an epoch shows: landmarks of few images more than once, of many not all."""

    def __init__(self, roles: Roles, plan: Plan) -> None:
        self._plan, self._roles = plan, roles
        groups = len(roles.known) + len(roles.background)
        self.own: list[list[int]] = [[] for _ in range(groups)]
        self._small: list[list[int]] = [[] for _ in range(groups)]
        for i in roles.of("train", "background", "background_landmark"):
            self.own[roles.photos[i].label].append(int(i))
        for i in roles.of("train_small"):
            self._small[roles.photos[i].label].append(int(i))

    def epoch(self, epoch: int) -> np.ndarray:
        """Positions of the images of an epoch, shuffled."""
        plan, known = self._plan, len(self._roles.known)
        rng = np.random.default_rng((plan.seed, epoch, 7))
        drawn = []
        for group, own in enumerate(self.own):
            places = rng.permutation(np.array(own))
            if group >= known:
                is_other = "/" in self._roles.background[group - known]
                drawn.append(places[: plan.other if is_other else plan.background])
                continue
            missing = plan.fewest - len(places)
            if missing > 0:
                places = np.concatenate([places, rng.choice(places, missing)])
            drawn.append(places[: plan.most])
            if self._small[group]:
                drawn.append(rng.permutation(self._small[group])[: plan.small])
        return rng.permutation(np.concatenate(drawn))


class _Batches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The batches of all epochs, each from its own seed, so that any worker process may make them."""

    def __init__(self, sampler: Sampler, pictures: Pictures, labels: np.ndarray, plan: Plan) -> None:
        self._pictures, self._labels, self._plan = pictures, labels, plan
        self.batches: list[tuple[int, np.ndarray]] = []
        for epoch in range(plan.epochs):
            places = sampler.epoch(epoch)
            whole = len(places) // plan.batch
            self.batches += [(epoch, places[i * plan.batch : (i + 1) * plan.batch]) for i in range(whole)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, places = self.batches[step]
        rng = np.random.default_rng((self._plan.seed, step))
        smallest = 0.5 if epoch >= self._plan.epochs - self._plan.last else 0.3
        views = [augment(self._pictures[i], rng, VIEW, smallest=smallest) for i in places]
        return torch.from_numpy(np.stack(views)), torch.from_numpy(self._labels[places])


def normalised(views: Tensor, size: int = VIEW) -> Tensor:
    """Views (B, H, W, 3) uint8 at a size, as the backbone takes them."""
    inputs = views.permute(0, 3, 1, 2).float() / 127.5 - 1
    if size != views.shape[1]:
        inputs = nn.functional.interpolate(inputs, (size, size), mode="bilinear", antialias=True)
    return inputs.contiguous(memory_format=torch.channels_last)


class _Learner:
    """One network in training with its optimizer and the moving average of its weights."""

    def __init__(self, network: WorldNetwork, recipe: Recipe, known: int) -> None:
        self.recipe, self.network, self._known = recipe, network, known
        fixed = [network.backbone.conv_stem, *network.backbone.blocks[: recipe.frozen]]
        for part in fixed:
            part.requires_grad_(False)
        self._trained = [p for p in network.backbone.parameters() if p.requires_grad]
        parts = [
            {"params": [p for p in self._trained if p.ndim > 1], "weight_decay": recipe.decay},
            {"params": [p for p in self._trained if p.ndim <= 1], "weight_decay": 0.0},
            {"params": [network.weight], "lr": recipe.head_rate, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(parts, recipe.rate)
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self.average = copy.deepcopy(network)
        self.right = torch.zeros((), device=network.weight.device)

    def learn(
        self, views: Tensor, labels: Tensor, taught: Tensor | None, *, rate: float, step: int, is_last: bool
    ) -> None:
        """Learn from one batch; `taught` are the teacher's cosines times its scale."""
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rate
        recipe = self.recipe
        cosines = self.network.cosines(normalised(views, recipe.sizes[is_last]))
        is_known = (labels < self._known)[:, None]
        margins = recipe.margin * nn.functional.one_hot(labels, cosines.shape[1]) * is_known
        loss = nn.functional.cross_entropy(
            recipe.scale * (cosines - margins), labels, label_smoothing=recipe.smoothing
        )
        if taught is not None and recipe.distilled:
            learned = nn.functional.kl_div(
                (recipe.scale * cosines).log_softmax(1),
                taught.log_softmax(1),
                reduction="batchmean",
                log_target=True,
            )
            loss = (1 - recipe.distilled) * loss + recipe.distilled * learned
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, 5.0)
        self._optimizer.step()
        self.right += (cosines.argmax(1) == labels).sum()
        decay = min(recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)


def train_student(
    pictures: Pictures, roles: Roles, folder: Path, *, device: str, workers: int, compare: bool = False
) -> WorldNetwork:
    """Train the teacher and the network that is exported, unless `folder` holds them.

    Args:
        pictures: Decoded.
        roles: Which of them are trained on.
        folder: For the weights.
        device: `cpu` or `cuda`.
        workers: Processes that augment.
        compare: Also train `VARIANTS`, on the same views.
    """
    recipes = {"student": STUDENT, **(VARIANTS if compare else {})}
    teacher = None
    if not all((folder / f"{name}.pt").is_file() for name in recipes):
        found = train(
            pictures, roles, {"teacher": TEACHER}, folder, plan=TEACHER_PLAN, device=device, workers=workers
        )
        teacher = found["teacher"], TEACHER.scale
    trained = train(pictures, roles, recipes, folder, plan=Plan(), teacher=teacher, device=device, workers=workers)
    return trained["student"]


def train(
    pictures: Pictures,
    roles: Roles,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    plan: Plan,
    teacher: tuple[WorldNetwork, float] | None = None,
    device: str = "cpu",
    workers: int = 1,
) -> dict[str, WorldNetwork]:
    """Train networks on the same views and save each in a file; files that are all there are read instead.

    Args:
        pictures: Decoded.
        roles: Which of them are trained on.
        recipes: By the name of the network.
        folder: Where `NAME.pt` goes: weights in 16 bits, recipe, plan.
        plan: What they see.
        teacher: A trained network and its scale.
        device: `cpu` or `cuda`.
        workers: Processes that augment.
    """
    groups = [*roles.known, *roles.background]
    targets = {name: folder / f"{name}.pt" for name in recipes}
    if all(target.is_file() for target in targets.values()):
        return {name: read_network(targets[name], recipe) for name, recipe in recipes.items()}
    torch.manual_seed(plan.seed)
    networks = {name: WorldNetwork(len(groups), recipe) for name, recipe in recipes.items()}
    sampler = Sampler(roles, plan)
    views, groups_shown = _first_views(pictures, sampler)
    learners = []
    for name, network in networks.items():
        network.to(device, memory_format=torch.channels_last)
        _point_head(network, views, groups_shown)
        learners.append(_Learner(network, recipes[name], len(roles.known)))
    if teacher is not None:
        teacher[0].to(device, memory_format=torch.channels_last)
    batches = _Batches(sampler, pictures, roles.labels, plan)
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=workers, prefetch_factor=4, pin_memory=device == "cuda"
    )
    began, seen = time.monotonic(), 0
    for step, (views, labels) in enumerate(loader):
        views, labels = views.to(device, non_blocking=True), labels.to(device, non_blocking=True)  # noqa: PLW2901
        progress = max(step / len(batches), (time.monotonic() - began) / plan.seconds)
        if progress >= 1:
            break
        rate = min(1.0, (step + 1) / 150) * 0.5 * (1 + math.cos(math.pi * progress))
        taught = None if teacher is None else _taught(views, *teacher)
        is_last = progress >= 1 - plan.last / plan.epochs
        for learner in learners:
            learner.learn(views, labels, taught, rate=rate, step=step, is_last=is_last)
        seen += len(labels)
        epoch = batches.batches[step][0]
        if step + 1 == len(batches) or batches.batches[step + 1][0] != epoch:
            right = {
                name: f"{learner.right.item() / seen:.3f}"
                for name, learner in zip(networks, learners, strict=True)
            }
            print(f"epoch {epoch + 1}/{plan.epochs}: right {right}, {time.monotonic() - began:.0f} s", flush=True)
            seen = 0
            for learner in learners:
                learner.right.zero_()
    folder.mkdir(parents=True, exist_ok=True)
    for (name, target), learner in zip(targets.items(), learners, strict=True):
        state = {key: value.half().cpu() for key, value in learner.average.state_dict().items()}
        found = {"state": state, "groups": groups, "recipe": asdict(recipes[name]), "plan": asdict(plan)}
        torch.save(found, target)
    return {name: read_network(targets[name], recipe) for name, recipe in recipes.items()}


def read_network(path: Path, recipe: Recipe) -> WorldNetwork:
    """Read a network that `train` saved."""
    found = torch.load(path, weights_only=True)
    network = WorldNetwork(len(found["groups"]), recipe)
    network.load_state_dict(found["state"])
    return network


@torch.no_grad()
def _taught(views: Tensor, teacher: WorldNetwork, scale: float) -> Tensor:
    return scale * teacher.cosines(normalised(views))


def _first_views(pictures: Pictures, sampler: Sampler, size: int = 160) -> tuple[Tensor, Tensor]:
    """Some images of each group, seen as they are, (N, size, size, 3), and the group of each."""
    import cv2

    places = [(group, i) for group, own in enumerate(sampler.own) for i in own[:12]]
    views = [cv2.resize(pictures.crop(i), (size, size), interpolation=cv2.INTER_AREA) for _, i in places]
    return torch.from_numpy(np.stack(views)), torch.tensor([group for group, _ in places])


@torch.no_grad()
def _point_head(network: WorldNetwork, views: Tensor, groups: Tensor) -> None:
    """Point each direction at the mean embedding of its views."""
    device = network.weight.device
    batches = [normalised(batch.to(device), batch.shape[1]) for batch in views.split(64)]
    embeddings = torch.cat([network.late(network.early(batch)) for batch in batches]).cpu()
    middle = embeddings.mean(0)
    for group in range(len(network.weight)):
        mean = embeddings[groups == group].mean(0) - middle
        network.weight[group] = nn.functional.normalize(mean, dim=0).to(device)


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
