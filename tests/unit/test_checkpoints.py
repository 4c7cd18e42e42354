"""Weights and training state survive a round trip, or an error explains why not; no file runs code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from landmarks.errors import ModelError
from landmarks.training.engine.checkpoints import read_state, save_state
from landmarks.training.models.heads import CosineHead
from landmarks.training.models.weights import load_weights, read_weights, save_weights, start_from

CLASSES = ("Köln, «Dom»", "東京タワー 🗼", "C")


class Net(nn.Module):
    """The smallest network with what matters: a norm with its counter, and a head."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, classes)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "weights.safetensors", Net(), "net", CLASSES)
    return tmp_path / "weights.safetensors"


def test_weights_come_back_with_their_names(weights: Path) -> None:
    torch.manual_seed(0)
    expected = Net().state_dict()
    read = read_weights(weights)
    assert (read.architecture, read.classes) == ("net", CLASSES)
    assert read.tensors.keys() == expected.keys()
    assert all(torch.equal(read.tensors[name], value) for name, value in expected.items())
    other = Net()
    load_weights(weights, other, "net")
    assert torch.equal(other.head.weight, expected["head.weight"])


def test_a_network_in_channels_last_is_saved_as_it_is(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "weights", model, "net", CLASSES)
    assert torch.equal(read_weights(tmp_path / "weights").tensors["weight"], model.weight)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (Path.unlink, "no weights here: train first"),
        (flip_last_byte, r"not as they were written \(checksum mismatch\): restore the file or train again"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a weights file of landmarks .*: train again"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "not a weights file of landmarks"),
        (lambda path: path.write_bytes(b""), "not a weights file of landmarks"),
        (lambda path: path.write_text("a shopping list"), "not a weights file of landmarks"),
        (lambda path: save_file(Net().state_dict(), path), "not a weights file of landmarks"),
        (
            lambda path: save_file({}, path, {"architecture": "net", "sha256": "", "classes": "5"}),
            "not a weights file of landmarks .*: train again",
        ),
    ],
    ids=["missing", "flipped bit", "truncated", "cut in the header", "empty", "text", "foreign", "odd header"],
)
def test_a_weights_file_that_is_not_as_written_is_told(
    weights: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    damage(weights)
    with pytest.raises(ModelError, match=sentence) as caught:
        read_weights(weights)
    assert str(caught.value).startswith(str(weights))


def test_weights_of_another_architecture_are_told(weights: Path) -> None:
    with pytest.raises(ModelError, match="these weights are of 'net', not of 'efficientnet_lite0'"):
        load_weights(weights, Net(), "efficientnet_lite0")
    with pytest.raises(ModelError, match="cannot start 'efficientnet_lite0' from weights of 'net'"):
        start_from(weights, Net(), "efficientnet_lite0", CLASSES)


@pytest.mark.parametrize("model", [Net(classes=4), Net(width=5)], ids=["class count", "width"])
def test_weights_of_another_shape_are_told(weights: Path, model: Net) -> None:
    with pytest.raises(ModelError, match="of a network of another size, or of other classes: put the files"):
        load_weights(weights, model, "net")


class TestStartFrom:
    def test_rows_of_the_head_follow_the_class_names(self, weights: Path) -> None:
        old = read_weights(weights).tensors
        model = Net(classes=4)
        fresh = model.head.weight.detach().clone()
        assert start_from(weights, model, "net", ("C", "new", CLASSES[0], "newer")) == 2
        expected = torch.stack([old["head.weight"][2], fresh[1], old["head.weight"][0], fresh[3]])
        assert torch.equal(model.head.weight, expected)
        assert torch.equal(model.head.bias[[0, 2]], old["head.bias"][[2, 0]])
        assert torch.equal(model.body[0].weight, old["body.0.weight"])

    def test_a_landmark_has_its_row_by_any_of_its_names(self, tmp_path: Path) -> None:
        old, new = Net(), Net(classes=4)
        save_weights(tmp_path / "weights", old, "net", ("06.Colosseum", "eiffel tower", "Eiffel_Tower"))
        names = ("colosseum", "Eiffel_Tower", "eiffel tower", "Tower")
        assert start_from(tmp_path / "weights", new, "net", names) == 3
        assert torch.equal(new.head.weight[:3], old.head.weight[[0, 2, 1]])

    def test_no_class_in_common_leaves_the_head_alone(self, weights: Path) -> None:
        model = Net(classes=2)
        before = model.head.weight.detach().clone()
        assert start_from(weights, model, "net", ("X", "Y")) == 0
        assert torch.equal(model.head.weight, before)

    def test_rows_of_a_cosine_head_follow_the_class_names_too(self, tmp_path: Path) -> None:
        old, new = Net(), Net(classes=2)
        old.head, new.head = CosineHead(4, 3, sub_centers=2), CosineHead(4, 2, sub_centers=2)
        save_weights(tmp_path / "weights", old, "net", CLASSES)
        fresh = new.head.weight.detach().clone()
        assert start_from(tmp_path / "weights", new, "net", ("new", "C")) == 1
        assert torch.equal(new.head.weight, torch.stack([fresh[0], old.head.weight[2]]))

    @pytest.mark.parametrize("sub_centers", [1, 2])
    def test_another_kind_of_head_is_told(self, weights: Path, tmp_path: Path, sub_centers: int) -> None:
        cosine = Net()
        cosine.head = CosineHead(4, 3, sub_centers)
        save_weights(tmp_path / "cosine", cosine, "net", CLASSES)
        sentence = r"its head is of another kind: give the `head` and `sub_centers` of the run that `init` names"
        with pytest.raises(ModelError, match=sentence):
            start_from(weights, cosine, "net", CLASSES)
        with pytest.raises(ModelError, match=sentence):
            start_from(tmp_path / "cosine", Net(), "net", CLASSES)
        cosine.head = CosineHead(4, 3, sub_centers + 1)
        with pytest.raises(ModelError, match=sentence):
            start_from(tmp_path / "cosine", cosine, "net", CLASSES)

    def test_weights_that_lack_a_part_are_told(self, tmp_path: Path) -> None:
        save_weights(tmp_path / "head", nn.ModuleDict({"head": Net().head}), "net", CLASSES)
        with pytest.raises(ModelError, match="these weights are of a network of another size"):
            start_from(tmp_path / "head", Net(), "net", CLASSES)

    def test_another_width_is_told(self, weights: Path) -> None:
        with pytest.raises(ModelError, match="another size: give the `widths` and `depths` of the run"):
            start_from(weights, Net(width=5), "net", CLASSES)


class TestState:
    def test_comes_back_as_it_was(self, tmp_path: Path) -> None:
        state = {"model": Net().state_dict(), "epoch": 3, "best": 0.25, "rows": [{"epoch": 0, "saved": True}]}
        save_state(tmp_path / "last.ckpt", state)
        read = read_state(tmp_path / "last.ckpt")
        assert {key: read[key] for key in ("epoch", "best", "rows")} == {
            "epoch": 3,
            "best": 0.25,
            "rows": state["rows"],
        }
        assert torch.equal(read["model"]["head.weight"], state["model"]["head.weight"])

    def test_a_missing_one_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"last\.ckpt: nothing to resume from: start a new run"):
            read_state(tmp_path / "last.ckpt")

    def test_another_object_is_told(self, tmp_path: Path) -> None:
        torch.save([1, 2], tmp_path / "last.ckpt")
        with pytest.raises(ModelError, match=r"last\.ckpt: not a checkpoint of landmarks: start a new run"):
            read_state(tmp_path / "last.ckpt")

    @pytest.mark.parametrize("pack", [pickle.dump, torch.save])
    def test_code_in_the_file_is_refused_and_not_run(self, tmp_path: Path, pack: Callable[..., None]) -> None:
        class Trap:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "sprung",)

        with (tmp_path / "last.ckpt").open("wb") as file:
            pack({"model": Trap()}, file)
        with pytest.raises(ModelError, match=r"last\.ckpt: the checkpoint is damaged: start a new run"):
            read_state(tmp_path / "last.ckpt")
        assert not (tmp_path / "sprung").exists()

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
    def test_any_other_content_is_told(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "last.ckpt").write_bytes(content)
        with pytest.raises(ModelError, match="start a new run"):
            read_state(tmp_path / "last.ckpt")

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.floats(0, 1, exclude_max=True))
    def test_a_truncated_one_is_told(self, tmp_path: Path, share: float) -> None:
        save_state(tmp_path / "last.ckpt", {"model": Net().state_dict()})
        content = (tmp_path / "last.ckpt").read_bytes()
        (tmp_path / "last.ckpt").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ModelError, match="start a new run"):
            read_state(tmp_path / "last.ckpt")
