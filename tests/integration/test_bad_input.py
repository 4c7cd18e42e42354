"""The user's mistakes and the machine's limits: one sentence, the right status, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
from commands import Outcome, landmarks
from safetensors.torch import save_file
from tiny_backbone import NAME, NARROW, TINY_BACKBONE

from landmarks.training.models.weights import read_weights

TINY = (*NARROW, "--epochs", 1, "--sizes", 32, "--batch-size", 8, "--limit", 16)


def assert_refused(outcome: Outcome, *words: object, status: int = 2) -> None:
    """The command ended with one sentence that holds these words, and no traceback."""
    assert outcome.status == status, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith("landmarks: ")
    for word in words:
        assert str(word) in outcome.complaint


def bomb(path: Path) -> Path:
    """Write a PNG that says it has 200 megapixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.fixture
def own_data(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn set that a test may spoil."""
    copied = tmp_path / "data"
    shutil.copytree(drawn, copied)
    return copied


# --- data folders ---


def test_missing_data_folder(tmp_path):
    outcome = landmarks("train", tmp_path / "nothing", "--out", tmp_path / "run")
    assert_refused(outcome, tmp_path / "nothing", "no such folder")
    assert list(tmp_path.iterdir()) == []


def test_empty_data_folder(tmp_path):
    (tmp_path / "data").mkdir()
    assert_refused(
        landmarks("train", tmp_path / "data", "--out", tmp_path / "run"), tmp_path / "data", "no folder of"
    )
    assert_refused(landmarks("data", tmp_path / "data"), tmp_path / "data", "no folder of")
    assert not (tmp_path / "run").exists()


def test_one_class(own_data, tmp_path):
    for split in ("train", "test"):
        for folder in sorted((own_data / split).iterdir())[1:]:
            shutil.rmtree(folder)
    assert_refused(landmarks("train", own_data, "--out", tmp_path / "run"), own_data, "one class")
    assert not (tmp_path / "run").exists()


def test_a_place_that_was_free_is_free_again_after_a_mistake(drawn, tmp_path):
    assert landmarks("train", tmp_path / "nothing", "--out", tmp_path / "runs" / "mine").status == 2
    assert not (tmp_path / "runs").exists()
    assert landmarks("train", drawn, "--out", tmp_path / "run", *TINY).status == 0


@pytest.mark.parametrize("below", [".", "any"])
@pytest.mark.parametrize("words", [("train",), ("train", "--cache", "cache"), ("pack", "shards"), ("tune",)])
def test_nothing_is_made_among_the_classes(drawn, tmp_path, monkeypatch, below, words):
    data = tmp_path / "data"
    shutil.copytree(drawn / "train", data)
    (data / below).mkdir(exist_ok=True)
    before = sorted(data.rglob("*"))
    monkeypatch.chdir(data / below)
    flags = {"train": ("--method", "scratch"), "pack": (), "tune": ("--method", "scratch", "--trials", 1)}
    out = ("--out", tmp_path / "run") if "--cache" in words else ()
    outcome = landmarks(words[0], data, *words[1:], *flags[words[0]], *out)
    assert_refused(outcome, f"it would be read as pictures of {data}: choose another", "outside of it")
    assert sorted(data.rglob("*")) == before
    assert not (tmp_path / "run").exists()


def test_broken_pictures_are_named_and_skipped(own_data, tmp_path):
    folder = min((own_data / "train").iterdir())
    good = sorted(folder.iterdir())[0].read_bytes()
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a picture")
    started = time.monotonic()
    bomb(folder / "huge.png")
    outcome = landmarks("train", own_data, "--out", tmp_path / "run", "--verbose", *TINY[:-2])
    assert outcome.status == 0, outcome.err
    assert time.monotonic() - started < 60
    broken = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["broken"]
    names = {f"train/{folder.name}/{name}" for name in ("cut.jpg", "empty.jpg", "huge.png", "text.jpg")}
    assert {line.split(":")[0] for line in broken} == names
    assert f"{folder / 'text.jpg'}: left out: " in outcome.err


def test_class_names_with_spaces_accents_and_emoji(own_data, cache, tmp_path):
    names = ["Château d'Eau", "塔 🗼", "a b,c"]
    for split in ("train", "test"):
        for folder, name in zip(sorted((own_data / split).iterdir()), names, strict=False):
            folder.rename(own_data / split / name)
    run, model = tmp_path / "run", tmp_path / "model"
    head = ("--method", "transfer", *TINY_BACKBONE, "--epochs", 1, "--views", 1)  # its export is that of others
    outcome = landmarks("train", own_data, "--out", run, "--cache", cache, *head)
    assert outcome.status == 0, outcome.err
    assert landmarks("export", run, "--out", model, "--precision", "fp32").status == 0
    outcome = landmarks("predict", "--model", model, own_data / "test" / names[1], "--jsonl")
    assert outcome.status == 0, outcome.err
    found = {candidate["class_name"] for candidate in json.loads(outcome.out.splitlines()[0])["candidates"]}
    assert set(names) <= found


# --- runs ---


def test_run_folder_that_exists_is_left_alone(drawn, transfer_run):
    before = sorted((path, path.stat().st_mtime_ns) for path in transfer_run.rglob("*"))
    outcome = landmarks("train", drawn, "--out", transfer_run)
    assert_refused(outcome, transfer_run, "--resume", "--out")
    assert sorted((path, path.stat().st_mtime_ns) for path in transfer_run.rglob("*")) == before


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",), ("export",)])
def test_folder_that_is_no_run(command, drawn):
    assert_refused(landmarks(*command, drawn), drawn, "not a run folder")


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",), ("export",)])
def test_data_that_changed_since(command, transfer_run, copy_run, own_data):
    next((own_data / "train").rglob("*.jpg")).unlink()
    run = copy_run(transfer_run, data=own_data)
    before = (run / "run.json").read_text()
    assert_refused(landmarks(*command, run), own_data, "not the pictures", run)
    assert (run / "run.json").read_text() == before


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",), ("export",)])
def test_data_that_is_gone(command, transfer_run, copy_run, tmp_path):
    run = copy_run(transfer_run, data=tmp_path / "gone")
    assert_refused(landmarks(*command, run), tmp_path / "gone", "no such folder", run / "settings.json")


def test_data_that_was_named_from_another_folder(transfer_run, copy_run):
    run = copy_run(transfer_run, data=Path("pictures"))
    assert_refused(landmarks("evaluate", run), "pictures", "or work in the folder where the run was trained")


def test_several_processes_for_a_network_of_pytorch(transfer_run, drawn):
    outcome = landmarks("evaluate", transfer_run, drawn / "test", "--workers", "3")
    assert_refused(outcome, transfer_run, "evaluated in one process: leave out --workers")


def test_options_of_reading_photos_for_a_network_of_pytorch(transfer_run, drawn):
    outcome = landmarks("evaluate", transfer_run, drawn / "test", "--engine", "openvino")
    assert_refused(outcome, transfer_run, "evaluated by PyTorch: leave out --engine")
    outcome = landmarks("evaluate", transfer_run, drawn / "test", "--max-megapixels", 0.0001)
    assert_refused(outcome, "can be read", "more than the limit of 0.0 MiB")


def test_configured_options_of_tagging_are_not_for_a_network_of_pytorch(
    transfer_run, drawn, tmp_path, monkeypatch
):
    monkeypatch.setenv("LANDMARKS_WORKERS", "3")
    monkeypatch.setenv("LANDMARKS_ENGINE", "openvino")
    outcome = landmarks("evaluate", transfer_run, drawn / "test", "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_tampered_weights(command, transfer_run, copy_run):
    run = copy_run(transfer_run)
    weights = run / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert_refused(landmarks(command, run), weights, "not as they were written")
    assert not (run / "model").exists()


def test_weights_of_another_architecture(scratch_run, transfer_run, copy_run):
    run = copy_run(transfer_run)
    shutil.copy(scratch_run / "weights.safetensors", run / "weights.safetensors")
    assert_refused(landmarks("evaluate", run), run / "weights.safetensors", "mymodel", NAME)


def test_start_from_another_architecture(drawn, cache, scratch_run, tmp_path):
    flags = ("--model", "transfer", *TINY_BACKBONE, "--init", scratch_run, "--cache", cache)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", *flags)
    assert_refused(outcome, scratch_run / "weights.safetensors", "mymodel")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        (
            "test_vit3",
            (),
            "takes no images of 224 pixels (Input height (224) doesn't match model (160)): set --crop",
        ),
        ("test_coatnet", ("--crop", 160, "--unfreeze", "--sizes", "160,64"), "takes no images of 64 pixels"),
    ],
)
def test_a_network_of_another_size_is_refused_before_it_is_trained(name, flags, message, drawn, cache, tmp_path):
    save_file(timm.create_model(name).state_dict(), tmp_path / "weights.safetensors")
    given = ("--backbone", name, "--weights", tmp_path / "weights.safetensors", "--cache", cache)
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", *given, *flags)
    assert_refused(outcome, name, message)
    assert not (tmp_path / "run").exists()


def test_checkpoint_of_another_architecture(scratch_run, transfer_run, copy_run):
    run = copy_run(scratch_run)
    shutil.copy(transfer_run / "head" / "last.ckpt", run / "last.ckpt")
    assert_refused(landmarks("train", "--resume", run), run / "last.ckpt", NAME)


def test_damaged_checkpoint(transfer_run, copy_run):
    run = copy_run(transfer_run)
    content = (transfer_run / "head" / "last.ckpt").read_bytes()
    (run / "head" / "last.ckpt").write_bytes(content[: len(content) // 2])
    assert_refused(landmarks("train", "--resume", run), run / "head" / "last.ckpt", "damaged")


@pytest.mark.parametrize("name", ["settings.json", "run.json", "metrics.csv"])
@pytest.mark.parametrize("content", ["", "{}", "[1]", "epoch,loss\n0,x\n"])
def test_damaged_files_of_a_run(name, content, transfer_run, copy_run):
    run = copy_run(transfer_run)
    (run / name).write_text(content)
    outcome = landmarks("evaluate", run)
    if name != "metrics.csv" or content.startswith("epoch"):
        assert_refused(outcome, name)
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("key", "value"), [("data", []), ("data", {}), ("preprocessing", {"crop": 5}), ("classes", 5)]
)
def test_damaged_values_of_a_run(key, value, transfer_run, copy_run):
    run = copy_run(transfer_run)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, key: value}))
    assert_refused(landmarks("evaluate", run), run / "run.json", "train again")


def test_settings_of_another_version(transfer_run, copy_run):
    run = copy_run(transfer_run)
    settings = json.loads((run / "settings.json").read_text())
    settings["model"]["views"] = [8]
    (run / "settings.json").write_text(json.dumps(settings))
    assert_refused(landmarks("evaluate", run), run / "settings.json", "do not fit this version")


def test_damaged_metrics_stop_an_export_before_it_begins(transfer_run, copy_run):
    run = copy_run(transfer_run)
    (run / "metrics_valid.json").write_text('{"count": 1')
    assert_refused(
        landmarks("export", run), run / "metrics_valid.json", f"landmarks evaluate {run} writes it again"
    )


def test_a_run_goes_on_without_its_table_of_epochs(scratch_run, copy_run):
    run = copy_run(scratch_run)
    shutil.copy(scratch_run / "last.ckpt", run)
    whole = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text("epoch,loss\n0,x\n")
    outcome = landmarks("train", "--resume", run)
    assert outcome.status == 0, outcome.err
    assert (run / "metrics.csv").read_text() == whole


# --- models and photos ---


def test_unknown_model_name(drawn):
    outcome = landmarks("predict", "--model", "atlantis", next((drawn / "test").rglob("*.jpg")))
    assert_refused(outcome, "atlantis", "no such model")


def test_tampered_model(scratch_model, drawn, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(scratch_model, model)
    with (model / "model.onnx").open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"\0")
    outcome = landmarks("predict", "--model", model, drawn / "test")
    assert_refused(outcome, model / "model.onnx", "SHA-256")


def test_folder_without_photos(scratch_model, tmp_path):
    assert_refused(landmarks("predict", "--model", scratch_model, tmp_path), tmp_path, "no photos")


def test_photo_that_is_not_there(scratch_model, tmp_path):
    outcome = landmarks("predict", "--model", scratch_model, tmp_path / "a.jpg")
    assert outcome.status == 2
    assert f"{tmp_path / 'a.jpg'}: no such file" in outcome.err


def test_photo_of_200_megapixels_is_refused_at_once(scratch_model, tmp_path):
    started = time.monotonic()
    outcome = landmarks("predict", "--model", scratch_model, bomb(tmp_path / "huge.png"))
    assert time.monotonic() - started < 10
    assert outcome.status == 2
    assert "20000 x 10000 pixels" in outcome.err


# --- flags ---


@pytest.mark.parametrize(
    "flags",
    [
        ("--epochs", 0), ("--batch-size", 0), ("--batch-size", 1), ("--valid-size", 1), ("--workers", -1),
        ("--limit", 0), ("--sampler", "fair"), ("--seed", -1), ("--augment", "blur"),
        ("--augment", "crop,resized-crop"), ("--crop-scale", 0), ("--mix", 2), ("--sizes", 8),
        ("--sizes", "64,big"), ("--method", "vit"), ("--views", 0), ("--dropout", 1),
        ("--unfreeze", "--method", "scratch"),
        ("--optimizer", "lion"), ("--schedule", "step"), ("--learning-rate", 0), ("--learning-rate", "nan"),
        ("--backbone-rate", 2), ("--weight-decay", -1), ("--label-smoothing", 1), ("--ema", 1),
        ("--patience", -1), ("--max-minutes", 0), ("--max-minutes", "nan"), ("--precision", "8"),
        ("--accelerator", "abacus"), ("--accelerator", "tpu"), ("--devices", 0), ("--threads", -1),
        ("--backbone", "alexnet99", "--model", "transfer"), ("--weights", "none.pt", "--model", "transfer"),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)  # fmt: skip
def test_wrong_value_is_answered_with_its_flag(flags, drawn, cache, tmp_path):
    usual = () if {"--model", "--method"} & set(flags) else ("--method", "scratch")
    outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", cache, *usual, *flags)
    assert_refused(outcome, flags[0])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN", "--split", "train"),
        ("export", "RUN", "--precision", "int4"),
        ("export", "RUN", "--negatives", "NOTHING"),
        ("export", "RUN", "--notes", "NOTHING"),
        ("predict", "PHOTO", "--jsonl", "--csv"),
        ("batch", "DATA", "--augment", "blur"),
        ("train",),
    ],
)
def test_other_wrong_values(words):
    assert_refused(landmarks(*words), next((word for word in words if word.startswith("--")), "--resume"))


# --- the machine's limits ---


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_in_training_keeps_what_was_finished(drawn, cache, tmp_path):
    with small_disk(tmp_path / "disk", "size=1m") as disk:  # the weights fit, the checkpoint does not
        outcome = landmarks("train", drawn, "--out", disk / "run", "--cache", cache, *TINY)
        way_on = f"(continue with landmarks train --resume {disk / 'run'})"
        assert_refused(outcome, disk / "run", "disk is full", way_on, status=1)
        assert not [path for path in disk.rglob("*") if path.name.startswith(".")]
        assert read_weights(disk / "run" / "weights.safetensors").architecture == "mymodel"


@pytest.mark.parametrize("size", ["64k", "256k", "512k"])
def test_full_disk_in_export_leaves_nothing(size, scratch_run, tmp_path):
    with small_disk(tmp_path / "disk", f"size={size}") as disk:
        outcome = landmarks("export", scratch_run, "--out", disk / "model", "--precision", "fp32")
        assert_refused(outcome, disk, "disk is full", status=1)
        assert list(disk.iterdir()) == []


def test_full_disk_of_the_cache(drawn, tmp_path):
    with small_disk(tmp_path / "disk", "size=256k") as disk:
        outcome = landmarks("train", drawn, "--out", tmp_path / "run", "--cache", disk, *TINY)
        assert_refused(outcome, disk, "disk is full", status=1)
        assert list(disk.iterdir()) == []
        assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_written(drawn, cache, scratch_run, tmp_path):
    with small_disk(tmp_path / "disk", "ro") as disk:
        assert_refused(
            landmarks("train", drawn, "--out", disk / "run", "--cache", cache, *TINY), disk, "read-only", status=1
        )
        assert_refused(landmarks("export", scratch_run, "--out", disk / "model"), disk, "read-only", status=1)
        assert_refused(
            landmarks("batch", drawn, "--out", disk / "b.png", "--cache", cache), disk, "read-only", status=1
        )
