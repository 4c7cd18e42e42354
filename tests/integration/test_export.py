"""`landmarks export`: a model folder that answers like the trained network, or none."""

from __future__ import annotations

import copy
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import landmarks, python
from PIL import Image
from tiny_backbone import NAME, NARROW
from torch import nn

from landmarks.errors import ExportError, RunError
from landmarks.files.checksums import sha256_file
from landmarks.imaging.decoding import load_rgb
from landmarks.model.calibration import Outputs
from landmarks.model.folder import read_info
from landmarks.model.recognizer import Recognizer
from landmarks.training.engine.trained import load_data, load_run
from landmarks.training.export import export, thresholds
from landmarks.training.export.background_table import TableGroups
from landmarks.training.export.calibration import calibrate_by_table
from landmarks.training.export.card import model_card
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predict_picture,
    predictor_test,
)
from landmarks.training.export.thresholds import OpenSetTargets
from landmarks.training.runs.folder import open_run


@pytest.fixture(scope="module")
def int8_model(transfer_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("models") / "drawn"
    outcome = landmarks("export", transfer_run, "--out", model)
    assert outcome.status == 0, outcome.err
    assert "int8 is right on" in outcome.out
    return model


def test_model_folder_is_complete_and_sealed(int8_model, transfer_run):
    info = read_info(int8_model)
    assert (info.name, info.precision, info.architecture) == ("drawn", "int8", NAME)
    files = {path.name for path in int8_model.iterdir()}
    assert files == {"model.onnx", "model.pt", "model.json", "README.md"}
    assert info.files == {name: sha256_file(int8_model / name) for name in files - {"model.json"}}
    assert list(info.classes) == json.loads((transfer_run / "run.json").read_text())["classes"]
    assert info.metrics["test"]["top1"]["value"] >= 0.75
    assert (int8_model / "model.onnx").stat().st_size < 0.5 * (int8_model / "model.pt").stat().st_size


def test_fp32_model_answers_like_the_trained_network(scratch_run, scratch_model):
    run = load_run(scratch_run)
    data = load_data(run)
    crops = np.stack(
        [export.EvalTransform(run.preprocessing).crop(data.cache.picture(s.path)) for s in data.folder.test]
    )
    with torch.no_grad():
        eager = torch.softmax(
            run.model(torch.from_numpy(export.normalize(crops, run.preprocessing))), dim=1
        ).numpy()
    assert np.abs(Recognizer(scratch_model).answer(crops).probabilities - eager).max() < 1e-4
    assert read_info(scratch_model).precision == "fp32"


def test_model_lies_in_the_run_when_no_place_is_given(scratch_run, copy_run):
    run = copy_run(scratch_run)
    outcome = landmarks("export", run, "--precision", "fp32")
    assert outcome.status == 0, outcome.err
    assert read_info(run / "model").precision == "fp32"


def test_torchscript_reloaded_in_a_fresh_process_is_as_right_as_the_eager_network(scratch_run, scratch_model):
    run = load_run(scratch_run)
    samples = load_data(run).folder.test
    eager, labels = predictor_test(make_predictor(run.model, run.classes, run.preprocessing), samples)
    accuracy = float((eager.argmax(axis=1) == labels).mean())
    code = """
import sys
from pathlib import Path
from landmarks.training.data.folders import Sample
from landmarks.training.export.predictor import load_torchscript, predictor_test
model, *rest = sys.argv[1:]
samples = [Sample(Path(path), int(label)) for path, label in zip(rest[::2], rest[1::2])]
script = load_torchscript(Path(model))
probabilities, labels = predictor_test(script, samples)
print(float((probabilities.argmax(axis=1) == labels).mean()), list(script.class_names))
"""
    words = [word for sample in samples for word in (sample.path, sample.label)]
    fresh = python(code, scratch_model / "model.pt", *words)
    assert fresh.status == 0, fresh.err
    assert fresh.out.strip() == f"{accuracy} {list(run.classes)}"
    metrics = json.loads((scratch_run / "metrics_test.json").read_text())
    assert accuracy == pytest.approx(metrics["top1"]["value"], abs=1.5 / len(samples))


def test_another_input_is_that_of_the_run_the_model_and_torchscript(drawn, cache, tmp_path):
    run, model = tmp_path / "run", tmp_path / "model"
    small = (*NARROW, "--epochs", 1, "--sizes", 48, "--resize", 96, "--crop", 80)
    outcome = landmarks("train", drawn, "--cache", cache, *small, "--out", run)
    assert outcome.status == 0, outcome.err
    outcome = landmarks("export", run, "--precision", "fp32", "--out", model)
    assert outcome.status == 0, outcome.err
    recognizer, script = Recognizer(model), load_torchscript(model / "model.pt")
    assert (recognizer.info.preprocessing.resize, recognizer.info.preprocessing.crop) == (96, 80)
    with (run / "predictions_test.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            crop = recognizer.prepare(line["path"]).picture
            assert crop is not None
            assert crop.shape == (80, 80, 3)
            probabilities = recognizer.answer(crop[None]).probabilities[0]
            assert probabilities.max() == pytest.approx(float(line["probability"]), abs=0.02)
            assert predict_picture(script, load_rgb(Path(line["path"]))) == pytest.approx(probabilities, abs=0.02)


# --- an export that would differ is refused ---


def with_another_bias(model: nn.Module) -> nn.Module:
    changed = copy.deepcopy(model)
    head = next(module for module in reversed(list(changed.modules())) if isinstance(module, nn.Linear))
    with torch.no_grad():
        head.bias[0] += 1
    return changed


def test_onnx_that_differs_is_refused(scratch_run, tmp_path, monkeypatch):
    write = export.write_onnx
    monkeypatch.setattr(export, "write_onnx", lambda model, *rest: write(with_another_bias(model), *rest))
    outcome = landmarks("export", scratch_run, "--out", tmp_path / "model", "--precision", "fp32")
    assert outcome.status == 1
    assert "ONNX export differs from the trained network" in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_torchscript_that_differs_is_refused(scratch_run, tmp_path, monkeypatch):
    save = export.save_torchscript
    monkeypatch.setattr(export, "save_torchscript", lambda model, path: save(with_another_bias(model), path))
    outcome = landmarks("export", scratch_run, "--out", tmp_path / "model", "--precision", "fp32")
    assert outcome.status == 1
    assert "TorchScript export differs" in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_int8_that_loses_accuracy_is_refused(scratch_run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "INT8_LOSS", -1.1)  # no model is so much better than another
    outcome = landmarks("export", scratch_run, "--out", tmp_path / "model")
    assert outcome.status == 1
    assert "--precision fp32" in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_int8_is_not_refused_by_a_few_unlucky_pictures():
    fp32 = np.ones(200, dtype=bool)
    unlucky, bad = fp32.copy(), fp32.copy()
    unlucky[:3] = False
    bad[:12] = False
    assert export.require_parity(fp32, unlucky).value == pytest.approx(-0.015)
    with pytest.raises(ExportError, match=r"int8 recognises 6\.0% fewer of 200 pictures than fp32"):
        export.require_parity(fp32, bad)


def test_model_folder_that_exists_is_left_alone(scratch_run, scratch_model):
    before = {path: path.stat().st_mtime_ns for path in scratch_model.iterdir()}
    outcome = landmarks("export", scratch_run, "--out", scratch_model)
    assert outcome.status == 2
    assert str(scratch_model) in outcome.complaint
    assert {path: path.stat().st_mtime_ns for path in scratch_model.iterdir()} == before


def test_of_two_exports_into_one_folder_the_second_is_refused(tmp_path):
    out = tmp_path / "model"

    def exports() -> None:
        with export.export_folder(out) as slow, export.export_folder(out) as fast:
            (slow / "slow").touch()
            (fast / "fast").touch()

    with pytest.raises(RunError, match="this model folder exists"):
        exports()
    assert [path.name for path in out.iterdir()] == ["fast"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """Photos without a landmark: noise, and one file that is no picture."""
    folder = tmp_path / "nothing"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


def test_export_learns_from_negatives_when_to_say_nothing(transfer_run, copy_run, nothing, drawn, tmp_path):
    run, model = copy_run(transfer_run), tmp_path / "calibrated"
    told = json.loads((run / "run.json").read_text())
    told["data"]["broken"] = ["/mnt/photos/cut.jpg: it ends early"]  # as of a table with absolute paths
    (run / "run.json").write_text(json.dumps(told))
    settings = json.loads((run / "settings.json").read_text())
    for folder, name, init in ((run, "", "before"), (tmp_path / "before", "Elsewhere", "gone")):
        folder.mkdir(exist_ok=True)
        started = {**settings, "model": {**settings["model"], "init": str(tmp_path / init)}}
        (folder / "settings.json").write_text(json.dumps(started))
        if name:
            (folder / "run.json").write_text(json.dumps({**told, "data": {**told["data"], "name": name}}))
    notes = tmp_path / "notes.md"
    notes.write_text("Drawn by code.")
    flags = ("--precision", "fp32", "--no-torchscript", "--negatives", nothing, "--target-fpr", 0.2)
    outcome = landmarks("export", run, "--out", model, *flags, "--notes", notes)
    assert outcome.status == 0, outcome.err
    info = read_info(model)
    assert "/mnt/photos" not in (model / "model.json").read_text()
    assert [(one.collection, one.pictures > 0) for one in info.origin] == [
        (told["data"]["name"], True),
        ("Elsewhere", False),
        ("data of the run gone", False),
    ], "what a run started from was learnt too"
    assert info.data["unreadable"] == 1
    assert info.calibration is not None
    assert info.calibration["fitted_on"]["negatives"] == 12
    assert f"left out, as they cannot be read: {nothing / 'broken.jpg'}\n" in outcome.out
    assert info.metrics["export"]["unreadable"] == ["broken.jpg"], "no path of this machine goes along"
    assert set(info.files) == {"model.onnx", "README.md", "reference.npz"}
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "Drawn by code." in card
    assert "measured on other photos of the same kinds than those" in card
    assert "tags on ordinary photos of the same kinds" in landmarks("models", model).out
    assert "| balanced |" in card
    tagged = landmarks("tag", *sorted(nothing.glob("*.png")), "--model", model, "--jsonl")
    assert sum(bool(json.loads(line)["tags"]) for line in tagged.out.splitlines()) <= 2
    known = landmarks("tag", drawn / "test", "--model", model, "--jsonl")
    assert sum(bool(json.loads(line)["tags"]) for line in known.out.splitlines()) >= 8


def test_a_rate_that_the_bundled_table_cannot_promise_is_refused_before_the_images_are_opened(
    transfer_run, copy_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("landmarks.training.export.export.table_fits", lambda _: True)
    run = copy_run(transfer_run, data=tmp_path / "gone")
    outcome = landmarks("export", run, "--target-fpr", 0.001)
    assert outcome.complaint == (
        "--target-fpr 0.001 needs 999 photos without a landmark, and the bundled table has 720: give --negatives"
    )


def test_a_calibration_by_the_table_of_the_package_says_so(int8_model, transfer_run):
    info, data, rng = read_info(int8_model), load_data(load_run(transfer_run)), np.random.default_rng(0)
    size = (
        Recognizer(int8_model).answer(np.zeros((1, *[info.preprocessing.crop] * 2, 3), np.uint8)).embeddings.size
    )
    kinds = {
        name: Outputs(np.zeros((9, len(info.classes)), np.float32), rng.normal(size=(9, size)).astype(np.float32))
        for name in ("rooms", "streets")
    }
    made = calibrate_by_table(int8_model, data, TableGroups(kinds, {}), OpenSetTargets(ordinary=0.2))
    card = model_card(replace(info, calibration=made.to_dict()))
    assert "that should get no tag are those of a table of the package" in card
    assert "on the calibration photos with cross-fitted scores: kind " in card


def test_folders_for_the_threshold_are_judged_before_the_images_are_opened(
    scratch_run, copy_run, nothing, drawn, tmp_path
):
    run, flags = copy_run(scratch_run, data=tmp_path / "gone"), ("--negatives", nothing, "--target-fpr", 0.2)
    outcome = landmarks("export", run, *flags, "--unknown-landmarks", drawn / "test")
    assert "the model knows all landmarks in it: give a folder of photos of landmarks that" in outcome.complaint
    known = tmp_path / next((drawn / "test").iterdir()).name
    nothing.rename(known)
    nothing.mkdir()
    known.rename(nothing / known.name)
    (nothing / "one.jpg").touch()
    outcome = landmarks("export", run, *flags)
    assert "1 photo without a landmark cannot promise a rate of 0.2: give at least 4" in outcome.complaint


def test_notes_without_a_card_are_refused_before_the_images_are_opened(scratch_run, copy_run, tmp_path):
    (tmp_path / "notes.md").write_text("Drawn by code.")
    run = copy_run(scratch_run, data=tmp_path / "gone")
    outcome = landmarks("export", run, "--for", "onnx", "--notes", tmp_path / "notes.md")
    assert outcome.complaint.startswith("--notes is for a model card, which --for onnx does not have")


def test_every_file_of_a_calibrated_model_gives_the_same_probabilities(
    transfer_run, nothing, drawn, tmp_path, monkeypatch
):
    monkeypatch.setattr(thresholds, "fit_temperature", lambda *_: 0.3)
    model = tmp_path / "model"
    flags = ("--precision", "fp32", "--negatives", nothing, "--target-fpr", 0.2)
    assert landmarks("export", transfer_run, "--out", model, *flags).status == 0
    recognizer, script = Recognizer(model), load_torchscript(model / "model.pt")
    assert recognizer.info.temperature == 0.3
    for photo in sorted(drawn.glob("test/*/*"))[:8]:
        probabilities = recognizer.answer(recognizer.prepare(photo).picture[None]).probabilities[0]
        assert predict_picture(script, load_rgb(photo)) == pytest.approx(probabilities, abs=0.02)
    confidence = []
    for subject, name in ((model, "folder"), (model / "model.pt", "file")):
        outcome = landmarks("evaluate", subject, drawn / "test", "--out", tmp_path / name)
        assert outcome.status == 0, outcome.err
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        confidence.append(metrics["calibration"]["confidence"])
    assert confidence[0] == pytest.approx(confidence[1], abs=0.005)


def test_export_learns_from_kinds_and_from_landmarks_it_must_not_claim(transfer_run, drawn, tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("noise", "grey", "stripes"):
        (tmp_path / "negatives" / kind).mkdir(parents=True)
        for number in range(8):
            picture = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            picture = {"noise": picture, "grey": picture // 8 + 100, "stripes": picture[:1].repeat(96, 0)}[kind]
            Image.fromarray(picture).save(tmp_path / "negatives" / kind / f"{number}.png")
    unknown = tmp_path / "unknown" / "Elsewhere"
    unknown.mkdir(parents=True)
    for number in range(8):
        Image.fromarray(rng.integers(0, 60, (96, 96, 3), dtype=np.uint8)).save(unknown / f"{number}.png")
    shutil.copytree(
        drawn / "test" / (known := sorted(path.name for path in (drawn / "test").iterdir())[0]),
        unknown.parent / known,
    )
    shutil.copytree(unknown.parent / known, tmp_path / "negatives" / known)
    model = tmp_path / "calibrated"
    flags = ("--precision", "fp32", "--no-torchscript", "--target-fpr", 0.2, "--unknown-tags", 0.2)
    given = ("--negatives", tmp_path / "negatives", "--unknown-landmarks", unknown.parent)
    outcome = landmarks("export", transfer_run, "--out", model, *flags, *given)
    assert outcome.status == 0, outcome.err
    assert f"left out, as the model knows these landmarks: {known}\n" in outcome.out
    assert "8 photos of unknown landmarks may hide nearly every tag" in outcome.out
    calibration = read_info(model).calibration
    assert calibration is not None
    assert calibration["fitted_on"]["known_landmarks"] == [known], "no path of this machine goes along"
    assert calibration["fitted_on"]["folders"] == ["negatives", "unknown"], "nor here"
    rates = calibration["fitted_on"]["rates"]
    assert set(rates) == {"kind grey", "kind noise", "kind stripes", "landmark Elsewhere"}
    assert all(rate["count"] == 8 and rate["low"] <= rate["value"] <= rate["high"] for rate in rates.values())
    expected = calibration["operating_points"]["balanced"]["expected"]
    assert set(expected) == {"tagged_rightly", "tagged_wrongly", "false_tags_ordinary", "false_tags_unknown"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ("--negatives", "NOTHING", "--target-fpr", 0.01),
            "13 photos without a landmark cannot promise a rate of 0.01: give at least 99",
        ),
        (
            ("--negatives", "NOTHING", "--target-fpr", 0.072),
            "12 negatives cannot promise a rate of 0.072: give at least 13; left out, as they cannot be read: ",
        ),
        (("--false-tags", 2), "--target-fpr must be between 0 and 1, not 2.0"),
        (("--unknown-landmarks", "NOTHING"), "needs --negatives"),
        (("--unknown-tags", 0), "--unknown-tags must be between 0 and 1, not 0.0"),
        (
            ("--negatives", "NOTHING", "--target-fpr", 0.2, "--unknown-landmarks", "EMPTY"),
            "empty: there are no photos in it: give a folder of photos of landmarks that the model does not know",
        ),
        (("--negatives", "TRAINING", "--target-fpr", 0.2), "the model was trained on "),
        (("--score", "guess"), "is not one of"),
        (("--score", "energy"), "--score needs --negatives"),
        (
            ("--negatives", "NOTHING", "--target-fpr", 0.2, "--score", "known_mass"),
            "--score known_mass needs a class background, which ",
        ),
        (("--target-fpr", 0.2), "--target-fpr needs --negatives: photos on which the threshold is chosen"),
        (("--negatives", "NOTHING", "--unknown-tags", 0.2), "--unknown-tags needs --unknown-landmarks"),
        (
            ("--for", "torchscript", "--target-fpr", 0.2),
            "--target-fpr is for a threshold, which --for torchscript",
        ),
        (("--for", "timm", "--licence", "MIT"), "--licence is for a model card, which --for timm does not have"),
        (("--for", "torchscript", "--no-torchscript"), "--torchscript must be true with --for torchscript"),
        (("--notes", "missing.md"), "--notes must be a text file, not 'missing.md'"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(scratch_run, nothing, tmp_path, flags, sentence):
    (tmp_path / "empty").mkdir()
    data = open_run(scratch_run)[1].data  # of the process of pytest that made the run
    folders = {"NOTHING": nothing, "EMPTY": tmp_path / "empty", "TRAINING": next((data / "train").iterdir())}
    flags = [folders.get(flag, flag) for flag in flags]
    outcome = landmarks("export", scratch_run, "--out", tmp_path / "model", "--precision", "fp32", *flags)
    assert outcome.status == 2
    assert sentence in outcome.err
    assert not (tmp_path / "model").exists()
