"""`landmarks export --for`: each export is run by its own runtime, and answers like the trained network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import yaml
from commands import landmarks
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from PIL import Image
from tiny_model import make_model

from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.folder import read_info
from landmarks.model.probabilities import softmax
from landmarks.training.engine.trained import TrainedRun, load_data, load_run
from landmarks.training.export.export import trained_probabilities
from landmarks.training.export.formats import timm_files
from landmarks.training.export.formats.photoprism import write_photoprism


def exported(run: Path, target: str, out: Path, *flags: object) -> str:
    outcome = landmarks("export", run, "--for", target, "--out", out, *flags)
    assert outcome.status == 0, outcome.err
    return outcome.out


@pytest.fixture(scope="module")
def scratch(scratch_run: Path) -> TrainedRun:
    return load_run(scratch_run)


@pytest.fixture(scope="module")
def photo(scratch: TrainedRun) -> Path:
    return load_data(scratch).folder.test[0].path


def expected(run: TrainedRun, photo: Path) -> NDArray[np.float32]:
    """Return the probabilities of the trained network for one photo."""
    return trained_probabilities(run, prepare(photo, run.preprocessing)[None])[0]


def test_onnx_is_one_file_with_labels_and_preprocessing(scratch, scratch_run, photo, tmp_path):
    printed = exported(scratch_run, "onnx", tmp_path / "made", "--precision", "fp32")
    assert "fp32 ONNX differs by at most" in printed
    made = tmp_path / "made"
    assert {path.name for path in made.iterdir()} == {"model.onnx", "labels.txt", "preprocessing.json"}
    assert tuple((made / "labels.txt").read_text(encoding="utf-8").splitlines()) == scratch.classes
    # Nothing but the two small files says how to prepare the photo.
    told = json.loads((made / "preprocessing.json").read_text())
    image = Image.open(photo).convert("RGB")
    scale = told["resize"]["short_side"] / min(image.size)
    image = image.resize([int(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    side = told["center_crop"]
    left, top = (round((length - side) / 2) for length in image.size)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=told["input"]["dtype"])
    session = onnxruntime.InferenceSession(made / "model.onnx")
    logits = session.run(["logits"], {told["input"]["name"]: pixels[None]})[0]
    assert np.abs(softmax(logits)[0] - expected(scratch, photo)).max() < 1e-4


def test_torchscript_is_the_file_alone(scratch, scratch_run, photo, tmp_path):
    assert "TorchScript differs by at most" in exported(scratch_run, "torchscript", tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["model.pt"]
    with pytest.warns(FutureWarning, match="deprecated"):  # as PyTorch says of TorchScript as a whole
        script = torch.jit.load(tmp_path / "made" / "model.pt")
    pixels = torch.from_numpy(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1)
    assert (
        np.abs(script(pixels[None])[0].detach().numpy() - expected(scratch, photo)).max() < 5e-3
    )  # it resizes by itself
    assert tuple(script.class_names) == scratch.classes


def test_photoprism_gets_one_output_labels_and_a_description(scratch, scratch_run, photo, tmp_path):
    made = tmp_path / "My Towers"
    exported(scratch_run, "photoprism", made, "--precision", "fp32")
    assert {path.name for path in made.iterdir()} == {"my_towers.onnx", "labels.txt", "vision.yml"}
    (model,) = yaml.safe_load((made / "vision.yml").read_text())["Models"]
    assert (model["Type"], model["Name"], model["Engine"]) == ("labels", "my_towers", "onnx")
    given, output = model["ONNX"]["Input"], model["ONNX"]["Output"]
    assert (given["Layout"], given["ColorOrder"], output) == ("NHWC", "RGB", {"Logits": True})
    session = onnxruntime.InferenceSession(made / model["ONNX"]["File"])
    (taken,), (width,) = session.get_inputs(), session.get_outputs()
    assert (taken.shape, taken.type) == ([1, given["Height"], given["Width"], 3], "tensor(float)")
    labels = (made / model["LabelFile"]).read_text(encoding="utf-8").splitlines()
    assert width.shape == [1, len(labels)]
    mean, deviation = (np.array(given["Normalization"][key]) for key in ("Mean", "StdDev"))
    pixels = ((prepare(photo, scratch.preprocessing) - mean) / deviation).astype(np.float32)
    logits = session.run(None, {taken.name: pixels[None]})[0]
    assert np.abs(softmax(logits)[0] - expected(scratch, photo)).max() < 1e-4


def test_labels_for_photoprism_differ_as_the_classes_do(tmp_path: Path) -> None:
    colours = {"01.Eiffel": (230, 30, 30), "02.Eiffel": (30, 30, 230), "03.Big_Ben": (30, 230, 30)}
    model, made = make_model(tmp_path / "model", colours=colours), tmp_path / "made"
    made.mkdir()
    write_photoprism(model, [np.full((64, 64, 3), 128, np.uint8)], made, "towers")
    assert (made / "labels.txt").read_text(encoding="utf-8").split("\n")[:3] == [
        "01.Eiffel",
        "02.Eiffel",
        "Big Ben",
    ]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure on few images, to save time."""
    monkeypatch.setattr(timm_files, "LENGTH_PICTURES", 8)
    monkeypatch.setattr(timm_files, "ACCURACY_PICTURES", 8)


@pytest.mark.usefixtures("few")
def test_timm_builds_the_same_network_from_its_two_files(transfer_run, photo, tmp_path):
    run, made = load_run(transfer_run), tmp_path / "made"
    printed = exported(transfer_run, "timm", made)
    assert "timm by itself is right on" in printed
    assert {path.name for path in made.iterdir()} == {"model.safetensors", "config.json"}
    network = timm.create_model(f"local-dir:{made}", pretrained=True).eval()
    assert tuple(network.pretrained_cfg["label_names"]) == run.classes
    prepared = timm.data.create_transform(**timm.data.resolve_data_config(model=network), is_training=False)
    images = prepared(Image.open(photo).convert("RGB"))[None]
    length = json.loads((made / "config.json").read_text())["landmarks"]["feature_length"]
    with torch.no_grad():
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        exact = network.get_classifier()(length * torch.nn.functional.normalize(features)).softmax(dim=1)[0]
        plain = network(images).softmax(dim=1)[0]
    assert np.abs(exact.numpy() - expected(run, photo)).max() < 1e-4
    assert plain.argmax() == exact.argmax()


@pytest.mark.parametrize("resize", [256, 354, 400])
def test_timm_resizes_to_what_the_run_was_trained_on(resize: int) -> None:
    run = SimpleNamespace(preprocessing=Preprocessing(resize=resize, crop=224), classes=("a", "b"))
    network = SimpleNamespace(pretrained_cfg={}, num_features=4)
    config = timm_files._config(run, network, "test", 1.0)["pretrained_cfg"]
    resized = timm.data.create_transform(**timm.data.resolve_data_config(config)).transforms[0]
    assert resized.size == resize


@pytest.mark.usefixtures("few")
def test_hub_folder_is_one_for_timm_and_for_landmarks(transfer_run, photo, tmp_path):
    run, made = load_run(transfer_run), tmp_path / "made"
    exported(transfer_run, "hub", made, "--precision", "fp32")
    files = {path.name for path in made.iterdir()}
    assert files == {"model.safetensors", "config.json", "model.onnx", "model.json", "README.md"}
    assert read_info(made).files == {name: sha256_file(made / name) for name in files - {"model.json"}}
    card = ModelCard.load(made / "README.md")
    test = [one for one in card.data.eval_results if one.dataset_split == "test"]
    assert test[0].metric_value == run.metrics("test")["top1"]["value"]
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    assert timm.create_model(f"local-dir:{made}", pretrained=True).num_classes == len(run.classes)
    outcome = landmarks("predict", photo, "--model", made, "--jsonl")
    assert outcome.status == 0, outcome.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--for", "timm"), "timm holds its own backbones with a linear head, not mymodel"),
        (("--for", "hub"), "timm holds its own backbones with a linear head, not mymodel"),
        (("--for", "photoprism", "--name", "東京"), "PhotoPrism allows the letters a to z and digits"),
        (("--for", "torchscript", "--name", "x"), "--name is stored nowhere with --for torchscript: leave it out"),
        (("--out", "."), "this model folder exists"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_images_are_opened(
    scratch_run, tmp_path, monkeypatch, flags, words
):
    monkeypatch.setattr("landmarks.training.engine.trained.load_data", lambda *_args, **_rest: 1 / 0)
    outcome = landmarks("export", scratch_run, "--out", tmp_path / "made", *flags)
    assert outcome.status == 2
    assert words in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_threshold_that_a_target_cannot_hold_is_refused(scratch_run, tmp_path):
    out = tmp_path / "made"
    outcome = landmarks("export", scratch_run, "--for", "onnx", "--out", out, "--negatives", tmp_path)
    assert outcome.status == 2
    assert outcome.complaint == (
        "--negatives is for a threshold, which --for onnx does not have: leave it out, or export for landmarks "
        "or hub"
    )
