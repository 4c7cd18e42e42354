"""Imported PyTorch recognizers: TorchScript files and networks of timm answer as they do in PyTorch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from commands import landmarks
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from landmarks.errors import LandmarksError, ModelError, SettingsError
from landmarks.imaging.preprocessing import Preprocessing, normalize, prepare
from landmarks.model.folder import models_folder, read_info
from landmarks.model.importing.add import add_other
from landmarks.model.recognizer import Recognizer
from landmarks.training.export.predictor import make_predictor, save_torchscript
from landmarks.training.importing.reading import load_torch

NAMES = ("red tower", "green tower", "blue tower")
TIMM = "test_efficientnet"
"""A network that timm has for tests: the smallest."""


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{name}\n" for name in NAMES))
    return path


class Small(nn.Module):
    """Convolution and classifier; what becomes of the logits is given."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, len(NAMES))
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.head(self.body(images).flatten(1)))


class Turned(nn.Module):
    """A network that takes (N, H, W, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small(nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.permute(0, 3, 1, 2))


class Unknown(nn.Module):
    """A network with a step that the exporter does not know."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images)


class Named(nn.Module):
    """A network whose answer is no tensor."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"answer": images.mean(dim=[2, 3])}


def save_script(path: Path, network: nn.Module, compile_: Callable[..., Any] = torch.jit.script) -> nn.Module:
    torch.manual_seed(0)
    for value in network.parameters():
        nn.init.normal_(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the deprecation of TorchScript
        torch.jit.save(compile_(network.eval()), path)
    return network


def pictures(side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, side, side, 3), dtype=np.uint8)


@torch.no_grad()
def expected(network: nn.Module, folder: Path, crops: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(normalize(crops, read_info(folder).preprocessing))).numpy()


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize(("end", "scores"), [(nn.Identity(), "logits"), (nn.Softmax(dim=1), "probabilities")])
def test_torchscript_answers_as_in_pytorch(
    tmp_path: Path, labels: Path, how: str, end: nn.Module, scores: str
) -> None:
    path = tmp_path / "mine.pt"
    compilers = {"script": torch.jit.script, "trace": lambda one: torch.jit.trace(one, torch.rand(1, 3, 16, 16))}
    network = save_script(path, Small(end), compilers[how])
    loaded = load_torch(path, preprocessing="squash:16,mean:0.5,std:0.5")
    folder = add_other(loaded, labels=labels, preprocessing="squash:16,mean:0.5,std:0.5")
    answer = Recognizer(folder).answer(pictures(16))
    given = expected(network, folder, pictures(16))
    found = answer.probabilities if scores == "probabilities" else answer.logits
    assert found == pytest.approx(given, abs=1e-4)
    assert answer.embeddings.shape == (5, 8)
    assert read_info(folder).data["scores"] == scores
    assert (folder.name, read_info(folder).classes) == ("mine", NAMES)


def test_torchscript_that_takes_channels_last_needs_the_layout(tmp_path: Path, labels: Path) -> None:
    path = tmp_path / "turned.pt"
    network = save_script(path, Turned())
    with pytest.raises(ModelError, match="does not take 4 pictures of shape 3 x 16 x 16"):
        load_torch(path, preprocessing="squash:16")
    text = "squash:16,layout:NHWC"
    folder = add_other(load_torch(path, preprocessing=text), labels=labels, preprocessing=text)
    with torch.no_grad():
        given = network(torch.from_numpy(pictures(16).astype(np.float32) / 255)).numpy()
    assert Recognizer(folder).answer(pictures(16)).logits == pytest.approx(given, abs=1e-4)


def test_network_that_onnx_cannot_hold_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_script(tmp_path / "mine.pt", Unknown())
    with pytest.raises(ModelError, match="PyTorch cannot export this network to ONNX") as caught:
        load_torch(tmp_path / "mine.pt", preprocessing="squash:24,range:0..255")
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_torchscript_of_our_own_is_told_from_others(tmp_path: Path) -> None:
    own = make_predictor(Small(nn.Identity()), NAMES, Preprocessing(resize=24, crop=16))
    save_torchscript(own, tmp_path / "mine.pt")
    with pytest.raises(ModelError, match="landmarks export made it, and it resizes photos itself"):
        load_torch(tmp_path / "mine.pt", preprocessing="squash:24,range:0..255")


def test_both_are_compared_on_photos_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    module = "landmarks.training.importing.torchscript.converted"
    monkeypatch.setattr(module, lambda path, network, inputs: compared.append(inputs))
    save_script(tmp_path / "mine.pt", Small(nn.Identity()))
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 30), (255, 0, 0)).save(photos / "red.png")
    (photos / "broken.jpg").write_bytes(b"no photo")
    load_torch(tmp_path / "mine.pt", preprocessing="squash:16", photos=photos)
    assert compared[0].shape == (5, 3, 16, 16)
    assert compared[0][-1, :, 0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (
            b"no model",
            {"preprocessing": "squash:16"},
            "not a TorchScript file: save the network",
        ),
        (b"", {"preprocessing": "squash:16"}, "not a TorchScript file"),
        (None, {"preprocessing": ""}, "`preprocessing` must be given"),
        (None, {"preprocessing": "range:0..1"}, "must have crop or squash: the file does not tell the side"),
        (None, {"preprocessing": "squash:16", "architecture": "resnet18"}, "not a state dict that can be read"),
        (Named(), {"preprocessing": "squash:16"}, "answers with a dict, not with tensors"),
    ],
)
def test_torchscript_that_does_not_fit_is_refused(
    tmp_path: Path, content: bytes | nn.Module | None, settings: dict[str, str], message: str
) -> None:
    path = tmp_path / "mine.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_script(path, content or Small(nn.Identity()))
    with pytest.raises((ModelError, SettingsError), match=message):
        load_torch(path, **settings)


def test_probabilities_are_not_taken_for_logits(tmp_path: Path, labels: Path) -> None:
    save_script(tmp_path / "mine.pt", Small(nn.Softmax(dim=1)))
    loaded = load_torch(tmp_path / "mine.pt", preprocessing="squash:16")
    with pytest.raises(ModelError, match="its outputs are probabilities already"):
        add_other(loaded, labels=labels, preprocessing="squash:16", scores="logits")
    assert list(models_folder().glob("[!.]*")) == []


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    network = timm.create_model(TIMM, pretrained=False, num_classes=len(NAMES)).eval()
    nn.init.normal_(network.get_classifier().weight)
    return network


def hub(folder: Path, network: Any, **changes: Any) -> Path:
    """Write a folder of the Hugging Face Hub."""
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.8}
    config = {"architecture": TIMM, "num_classes": 3, "label_names": NAMES, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_hub_folder_brings_labels_and_preprocessing(tmp_path: Path, network: Any) -> None:
    folder = add_other(load_torch(hub(tmp_path / "towers", network)))
    info = read_info(folder)
    assert (info.classes, info.architecture, info.name) == (NAMES, TIMM, "towers")
    assert (info.preprocessing.resize, info.preprocessing.crop, info.preprocessing.mean) == (40, 32, (0.5,) * 3)
    found = Recognizer(folder).answer(pictures(32)).logits
    assert found == pytest.approx(expected(network, folder, pictures(32)), abs=1e-3)


def test_folder_for_the_hub_may_hold_a_model_folder_too(tmp_path: Path, network: Any) -> None:
    made = hub(tmp_path / "towers", network)
    (made / "model.json").write_text('{"format": 1}')  # as landmarks export --for hub writes
    outcome = landmarks("models", "add", made, "--name", "again")
    assert outcome.status == 0, outcome.err
    assert read_info(models_folder() / "again").classes == NAMES


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_alone_need_the_name_of_their_network(
    tmp_path: Path, network: Any, labels: Path, ending: str
) -> None:
    path = tmp_path / f"weights.{ending}"
    torch.save(network.state_dict(), path) if ending == "pth" else save_file(network.state_dict(), path)
    with pytest.raises(LandmarksError, match="`architecture`"):
        load_torch(path, preprocessing="crop:32")
    loaded = load_torch(path, architecture=TIMM, preprocessing="crop:32")
    folder = add_other(loaded, labels=labels, preprocessing="crop:32")
    found = Recognizer(folder).answer(pictures(32)).logits
    assert found == pytest.approx(expected(network, folder, pictures(32)), abs=1e-3)


def test_features_are_scaled_where_the_export_states_it(tmp_path: Path, network: Any) -> None:
    made = hub(tmp_path / "towers", network, landmarks={"feature_length": 3.0})
    folder = add_other(load_torch(made))
    inputs = torch.from_numpy(normalize(pictures(32), read_info(folder).preprocessing))
    with torch.no_grad():
        features = network.forward_head(network.forward_features(inputs), pre_logits=True)
        given = network.get_classifier()(3 * nn.functional.normalize(features)).numpy()
    assert Recognizer(folder).answer(pictures(32)).logits == pytest.approx(given, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "hf-hub:somebody/else"}, "'hf-hub:somebody/else' is not a network of timm"),
        ({"architecture": "test_resnet"}, "check `architecture`"),
        ({"architecture": None}, "is not a network of timm"),
        (
            {"pretrained_cfg": {"input_size": [3, 32, 48], "mean": [0.5] * 3, "std": [1]}},
            "give `preprocessing`",
        ),
        ({"pretrained_cfg": {"input_size": [3, 32, 32]}}, "its configuration has a wrong 'mean'"),
        ({"pretrained_cfg": []}, "not the configuration of a network of timm"),
        ({"label_names": ["one", "two"]}, "2 labels fit 0 of its outputs .output_0 with 3 values."),
        ({"label_names": ["one", "one", "two"]}, "'one' names 2 outputs"),
    ],
)
def test_hub_folder_that_does_not_fit_is_refused(
    tmp_path: Path, network: Any, changes: dict[str, Any], message: str
) -> None:
    made = hub(tmp_path / "towers", network, **changes)
    with pytest.raises((ModelError, SettingsError), match=message):
        add_other(load_torch(made))
    assert list(models_folder().glob("[!.]*")) == []


def test_damaged_and_missing_weights_are_told(tmp_path: Path, network: Any) -> None:
    made = hub(tmp_path / "towers", network)
    content = (made / "model.safetensors").read_bytes()
    (made / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors: not a state dict that can be read"):
        load_torch(made)
    (made / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: not a state dict that can be read"):
        load_torch(made)
    with pytest.raises(SettingsError, match="must be a network of timm, such as test_efficientnet"):
        load_torch(tmp_path / "weights.pth", architecture="test_efficientnett")


def test_command_takes_torchscript_and_shows_its_answers(tmp_path: Path, labels: Path) -> None:
    network = save_script(tmp_path / "mine.pt", Small(nn.Identity()))
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    options = ("--labels", labels, "--photo", tmp_path / "red.png")
    outcome = landmarks("models", "add", tmp_path / "mine.pt", *options)
    assert outcome.status == 2
    assert outcome.complaint.endswith("--preprocessing must be given: the file does not tell")
    outcome = landmarks("models", "add", tmp_path / "mine.pt", *options, "--preprocessing", "squash:16")
    assert outcome.status == 0, outcome.err
    first, second, last = outcome.out.splitlines()
    folder = models_folder() / "mine"
    assert (first, last) == ("preprocessing: squash:16; scores: logits", f"model: {folder}")
    crop = prepare(tmp_path / "red.png", read_info(folder).preprocessing)
    best = NAMES[int(expected(network, folder, crop[None]).argmax())]
    assert second.startswith(f"{tmp_path / 'red.png'}: {best} ")


def test_missing_pytorch_is_one_sentence(tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    (tmp_path / "mine.pt").write_bytes(b"PK")
    monkeypatch.setattr("landmarks.training.importing.reading.load_torch", missing)
    outcome = landmarks("models", "add", tmp_path / "mine.pt", "--labels", labels, "--preprocessing", "crop:8")
    assert outcome.status == 2
    assert "this needs torch, which is not installed: run pip install -e '.[train]'" in outcome.complaint
