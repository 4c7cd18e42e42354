"""Cosine heads and the margin of their loss, against slow and obvious references."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from landmarks.errors import SettingsError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import ModelSettings
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predict_picture,
    save_torchscript,
)
from landmarks.training.export.quantization import quantize
from landmarks.training.models.heads import (
    CosineHead,
    MarginLoss,
    add_margin,
    head_factory,
    head_loss,
    margins_by_count,
)
from landmarks.training.models.model import MyModel
from landmarks.training.models.onnx_graph import write_onnx

cosines = st.floats(-1, 1, width=32)
margins = st.floats(0, 1.5)


def made(classes: int = 5, sub_centers: int = 3, features: int = 8) -> tuple[CosineHead, Tensor]:
    torch.manual_seed(0)
    return CosineHead(features, classes, sub_centers, scale=20.0), torch.randn(4, features)


# --- the head ---


@torch.no_grad()
@pytest.mark.parametrize("sub_centers", [1, 2, 3])
def test_a_logit_is_the_scaled_cosine_of_the_nearest_centre(sub_centers: int) -> None:
    head, x = made(sub_centers=sub_centers)
    for row, logits in zip(x, head(x), strict=True):
        for centers, logit in zip(head.weight, logits, strict=True):
            nearest = max(float(nn.functional.cosine_similarity(row, center, dim=0)) for center in centers)
            assert float(logit) == pytest.approx(20 * nearest, abs=1e-4)


def test_several_centres_that_are_one_answer_like_one() -> None:
    one, x = made(sub_centers=1)
    several, _ = made(sub_centers=3)
    with torch.no_grad():
        several.weight.copy_(one.weight.expand_as(several.weight))
    torch.testing.assert_close(several(x), one(x))


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_neither_the_length_of_an_embedding_nor_that_of_a_centre_counts(longer: float, wider: float) -> None:
    head, x = made()
    before = head(x)
    with torch.no_grad():
        head.weight.mul_(wider)
    torch.testing.assert_close(head(longer * x), before, atol=1e-4, rtol=1e-4)


def test_an_embedding_of_nothing_but_zeros_has_an_answer() -> None:
    head, x = made()
    assert bool((head(torch.zeros_like(x)) == 0).all())


def test_only_the_nearest_centre_learns() -> None:
    head, x = made()
    head(x[:1])[0, 2].backward()
    assert head.weight.grad is not None
    moved = head.weight.grad.norm(dim=2) > 0
    assert moved.sum() == 1
    assert bool(moved[2].any())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_cosines_keep_32_bits_where_the_network_has_fewer(precision: torch.dtype) -> None:
    head, x = made()
    reduced = x.to(precision)
    with torch.autocast("cpu", dtype=precision):
        logits = head(reduced)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, head(reduced.float()), atol=0, rtol=0)


# --- the margin ---


@given(cosines, margins)
def test_a_margin_adds_to_the_angle(cosine: float, margin: float) -> None:
    angle = math.acos(cosine) + margin
    slow = math.cos(angle) if angle < math.pi else cosine + math.cos(margin) - 1
    assert float(add_margin(torch.tensor(cosine), margin)) == pytest.approx(slow, abs=1e-3)
    exact = torch.tensor(cosine, dtype=torch.float64)
    assert float(add_margin(exact, margin)) == pytest.approx(slow, abs=2e-6)


@given(cosines)
def test_no_margin_changes_nothing(cosine: float) -> None:
    assert float(add_margin(torch.tensor(cosine), 0.0)) == pytest.approx(cosine, abs=1e-6)


@given(cosines, cosines, margins)
def test_a_larger_cosine_stays_the_larger(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    moved = add_margin(torch.tensor([low, high], dtype=torch.float64), margin)
    assert moved[0] <= moved[1] + 1e-5
    assert moved[1] <= high + 1e-12


@pytest.mark.parametrize("cosine", [-1.0, -0.9999999, 0.0, 0.9999999, 1.0, 1.0000001])
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
def test_gradients_are_finite_at_the_ends_too(cosine: float, margin: float) -> None:
    value = torch.tensor([cosine], requires_grad=True)
    add_margin(value, margin).backward()
    assert value.grad is not None
    assert bool(value.grad.isfinite())


def test_a_head_whose_centre_is_the_embedding_itself_has_finite_gradients() -> None:
    head, x = made(sub_centers=1)
    x = x.requires_grad_()
    with torch.no_grad():
        head.weight[0, 0], head.weight[1, 0] = x[0], -x[0]
    for label in (0, 1):
        head.zero_grad()
        MarginLoss(nn.CrossEntropyLoss(), 20.0, 0.5)(head(x[:1]), torch.tensor([label])).backward()
        assert bool(head.weight.grad.isfinite().all())
        assert bool(x.grad.isfinite().all())


def arcface(logits: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """ArcFace as the paper writes it, one logit after the other; the angles here stay below 180 degrees."""
    losses = []
    for row, label in zip((logits / scale).tolist(), labels.tolist(), strict=True):
        own = math.exp(scale * math.cos(math.acos(row[label]) + margin))
        others = sum(math.exp(scale * cosine) for place, cosine in enumerate(row) if place != label)
        losses.append(-math.log(own / (own + others)))
    return torch.tensor(losses).mean()


def test_the_loss_is_that_of_the_paper() -> None:
    head, x = made()
    labels = torch.tensor([0, 4, 2, 2])
    logits = head(x).detach()
    loss = MarginLoss(nn.CrossEntropyLoss(), 20.0, 0.4)
    torch.testing.assert_close(loss(logits, labels), arcface(logits, labels, 20.0, 0.4))


def test_a_target_that_is_whole_counts_as_its_label() -> None:
    head, x = made()
    labels = torch.tensor([0, 4, 2, 2])
    loss = MarginLoss(nn.CrossEntropyLoss(), 20.0, 0.4)
    shares = nn.functional.one_hot(labels, 5).float()
    torch.testing.assert_close(loss(head(x), shares), loss(head(x), labels))


def test_a_blended_target_has_its_share_of_the_margin() -> None:
    head, x = made()
    shares = torch.tensor([[0.7, 0.0, 0.3, 0.0, 0.0]])
    logits = head(x[:1]).detach()
    angles = (logits / 20).acos() + 0.4 * shares
    slow = -(shares * (20 * angles.cos()).log_softmax(1)).sum()
    torch.testing.assert_close(MarginLoss(nn.CrossEntropyLoss(), 20.0, 0.4)(logits, shares), slow)


def test_label_smoothing_comes_after_the_margin() -> None:
    head, x = made()
    labels = torch.tensor([0, 4, 2, 2])
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    logits = head(x).detach()
    moved = logits.clone()
    for row, label in enumerate(labels.tolist()):
        moved[row, label] = 20 * torch.cos(torch.acos(logits[row, label] / 20) + 0.4)
    torch.testing.assert_close(MarginLoss(smooth, 20.0, 0.4)(logits, labels), smooth(moved, labels))


def test_rare_classes_have_a_larger_margin() -> None:
    margins = margins_by_count([1, 16, 10_000, 81], 0.05, 0.5)
    a = (0.5 - 0.05) / (1 - 10_000**-0.25)
    expected = [0.05 + a * (count**-0.25 - 10_000**-0.25) for count in (1, 16, 10_000, 81)]
    assert margins.tolist() == pytest.approx(expected, abs=1e-6)
    assert margins.tolist()[::2] == pytest.approx([0.5, 0.05])
    assert margins_by_count([7, 7], 0.05, 0.5).tolist() == pytest.approx([0.05, 0.05])


def test_each_label_gets_the_margin_of_its_class() -> None:
    head, x = made()
    labels, margins = torch.tensor([0, 4, 2, 2]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    logits = head(x).detach()
    loss = MarginLoss(nn.CrossEntropyLoss(), 20.0, margins)
    each = [
        MarginLoss(nn.CrossEntropyLoss(), 20.0, float(margins[label]))(row[None], label[None])
        for row, label in zip(logits, labels, strict=True)
    ]
    torch.testing.assert_close(loss(logits, labels), torch.stack(each).mean())
    torch.testing.assert_close(loss(logits, nn.functional.one_hot(labels, 5).float()), loss(logits, labels))


def test_margins_by_count_are_checked_and_chosen() -> None:
    settings = ModelSettings(head="cosine", margin=0.1, rare_margin=0.4)
    loss = head_loss(nn.CrossEntropyLoss(), settings, [8, 1])
    assert isinstance(loss, MarginLoss)
    assert loss.margin.tolist() == pytest.approx([0.1, 0.4])  # type: ignore[union-attr]
    for wrong in ({"head": "linear"}, {"margin": 0.5}, {"rare_margin": 2.0}):
        with pytest.raises(SettingsError, match="`rare_margin` must be"):
            ModelSettings(**({"head": "cosine", "rare_margin": 0.4} | wrong))


def test_settings_choose_head_and_loss() -> None:
    plain, cosine = nn.CrossEntropyLoss(), ModelSettings(head="cosine", sub_centers=2, scale=12.0, margin=0.3)
    assert isinstance(head_factory(ModelSettings())(8, 3), nn.Linear)
    head = head_factory(cosine)(8, 3)
    assert isinstance(head, CosineHead)
    assert (tuple(head.weight.shape), head.scale) == ((3, 2, 8), 12.0)
    assert head_loss(plain, ModelSettings()) is plain
    assert head_loss(plain, ModelSettings(head="cosine", margin=0.0)) is plain
    loss = head_loss(plain, cosine)
    assert isinstance(loss, MarginLoss)
    assert (loss.loss, loss.scale, loss.margin) == (plain, 12.0, 0.3)


# --- in a network ---


@pytest.fixture(scope="module", params=[1, 3])
def network(request: pytest.FixtureRequest) -> MyModel:
    torch.manual_seed(0)
    head = head_factory(ModelSettings(head="cosine", sub_centers=request.param))
    return MyModel(4, widths=(8, 16), depths=(1, 1), head=head).eval()


def pictures(count: int) -> np.ndarray:
    coarse = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    enlarged: np.ndarray = coarse.repeat(28, axis=1).repeat(28, axis=2)
    return enlarged


def test_a_script_answers_alike(network: MyModel, tmp_path: Path) -> None:
    predictor = make_predictor(network, ("A", "B", "C", "D"), Preprocessing())
    save_torchscript(predictor, tmp_path / "model.pt")
    script = load_torchscript(tmp_path / "model.pt")
    for picture in pictures(3):
        np.testing.assert_allclose(
            predict_picture(script, picture), predict_picture(predictor, picture), atol=1e-5
        )


def test_onnx_answers_alike_and_int8_leaves_the_head_alone(network: MyModel, tmp_path: Path) -> None:
    contract, seen = Preprocessing(), pictures(3)
    write_onnx(network, contract, tmp_path / "fp32.onnx")
    quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", list(seen))
    with torch.no_grad():
        x = (torch.from_numpy(seen).permute(0, 3, 1, 2) / 255 - torch.tensor(contract.mean).view(3, 1, 1)) / (
            torch.tensor(contract.std).view(3, 1, 1)
        )
        expected = network(x).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "fp32.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["logits"], {"pictures": seen})[0], expected, atol=1e-3)
    graph = onnx.load(tmp_path / "fp32.onnx").graph
    assert not {node.op_type for node in graph.node} & {"Shape", "Gather", "Expand", "If", "Loop"}
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    logits, embedding = session.run(["logits", "embedding"], {"pictures": seen})
    with torch.no_grad():
        exact = network.head(torch.from_numpy(embedding)).numpy()
    np.testing.assert_allclose(logits, exact, atol=1e-3)


def test_the_embedding_of_a_half_precision_network_reaches_the_loss(network: MyModel) -> None:
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(2, 3, 32, 32))
    MarginLoss(nn.CrossEntropyLoss(), 30.0, 0.5)(logits, torch.tensor([0, 1])).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())
    network.zero_grad()
    network.eval()
