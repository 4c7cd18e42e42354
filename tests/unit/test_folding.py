"""Batch norms are folded into convolutions where that changes nothing, and only there."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from landmarks.training.models.folding import fold_batch_norms, fold_for_training
from landmarks.training.models.model import MyModel
from landmarks.training.models.transfer import get_model_transfer_learning


def seen() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def trained(network: nn.Module) -> nn.Module:
    """Give batch norms other statistics than their first ones."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.running_mean, module.running_var, module.weight, module.bias):
                    values.add_(torch.rand_like(values) / 10)
    return network.eval()


def made(name: str) -> nn.Module:
    if name == "scratch":
        return MyModel(4, widths=(16, 32), depths=(1, 1))
    return get_model_transfer_learning(name, pretrained=False)[0]


@pytest.mark.parametrize("name", ["scratch", "efficientnet_lite0", "repvit_m0_9", "fastvit_t8"])
@torch.no_grad()
def test_a_folded_network_embeds_alike_without_batch_norms(name: str) -> None:
    network = trained(made(name))
    before, count = network.embed(seen()), norms(network)
    folded = fold_batch_norms(network, seen())
    assert (norms(network), norms(folded)) == (count, 0)
    torch.testing.assert_close(folded.embed(seen()), before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.embed(seen()), before, atol=0, rtol=0)


class Twice(nn.Module):
    """Uses the output of its convolution besides the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def embed(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        return (x + self.norm(x)).mean(dim=(2, 3))


def test_a_network_that_folding_would_change_is_left_alone() -> None:
    network = trained(Twice())
    assert fold_batch_norms(network, seen()) is network
    assert fold_for_training(network, seen()) is network


@pytest.mark.parametrize(
    ("name", "left"),
    [("scratch", 0), ("efficientnet_lite0", 0), ("tf_efficientnet_lite0", 0), ("repvit_m0_9", 23)],
)
def test_a_folded_network_learns_as_the_one_it_came_from(name: str, left: int) -> None:
    # In 64 bits: near the bend of an activation, a rounding of 32 bits changes a whole gradient.
    network, images = trained(made(name)).double().requires_grad_(True), seen().double()
    folded = fold_for_training(network, images)
    assert norms(folded) == left < norms(network)
    for learning in (network, folded):
        learning.embed(images)[:, ::3].sum().backward()
    gradients = {key: parameter.grad for key, parameter in folded.named_parameters()}
    for key, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[key], parameter.grad, atol=1e-9, rtol=1e-6, msg=key)
    torch.optim.SGD(folded.parameters(), 0.1).step()
    after = folded.embed(images).detach()
    assert not torch.allclose(after, network.embed(images), atol=1e-4, rtol=1e-3)
    network.load_state_dict(folded.state_dict())
    torch.testing.assert_close(network.embed(images), after, atol=1e-9, rtol=1e-6)


def test_a_copy_of_a_folded_network_learns_alone() -> None:
    folded = fold_for_training(trained(made("scratch")), seen())
    before = folded.embed(seen()).detach()
    with torch.no_grad():
        for parameter in deepcopy(folded).parameters():
            parameter.add_(1)
    torch.testing.assert_close(folded.embed(seen()), before, atol=0, rtol=0)
