"""`landmarks train --head cosine`: trained, reloaded, fine-tuned and exported like any other run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import landmarks
from tiny_backbone import NARROW, TINY_BACKBONE

from landmarks.model.folder import read_info
from landmarks.training.engine.trained import load_run
from landmarks.training.models.heads import CosineHead
from landmarks.training.models.weights import read_weights

FROZEN = ("--model", "transfer", *TINY_BACKBONE)
COSINE = ("--head", "cosine", "--sub-centers", 2, "--scale", 20, "--margin", 0.2)


@pytest.fixture(scope="module")
def cosine_run(drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a frozen backbone with two centres a class; read it, never write to it."""
    run = tmp_path_factory.mktemp("runs") / "cosine"
    small = (*FROZEN, "--epochs", 10, "--views", 2, "--batch-size", 16)
    outcome = landmarks("train", drawn, *small, *COSINE, "--out", run, "--cache", cache)
    assert outcome.status == 0, outcome.err
    return run


def top1(run: Path) -> float:
    return float(json.loads((run / "metrics_test.json").read_text())["top1"]["value"])


def test_a_cosine_head_recognises_the_drawn_scenes(cosine_run):
    assert top1(cosine_run) >= 0.75


def test_the_run_says_which_head_it_has_and_loads_it_again(cosine_run):
    told = json.loads((cosine_run / "settings.json").read_text())["model"]
    assert [told[key] for key in ("head", "sub_centers", "scale", "margin")] == ["cosine", 2, 20.0, 0.2]
    head = load_run(cosine_run).model.head
    assert isinstance(head, CosineHead)
    assert (tuple(head.weight.shape), head.scale) == ((4, 2, 256), 20.0)
    before = top1(cosine_run)
    assert landmarks("evaluate", cosine_run, "--split", "test").status == 0
    assert top1(cosine_run) == before


def test_logits_have_no_margin_once_a_head_is_trained(cosine_run):
    run = load_run(cosine_run)
    embedding = torch.nn.functional.normalize(run.model.head.weight[:, 0], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(run.model.head(embedding).diag(), torch.full((4,), 20.0))


def test_an_export_answers_like_the_run(cosine_run, drawn, tmp_path):
    model = tmp_path / "model"
    outcome = landmarks("export", cosine_run, "--out", model)  # which compares ONNX, TorchScript and the network
    assert outcome.status == 0, outcome.err
    assert read_info(model).precision == "int8"
    answers = landmarks("predict", "--model", model, *sorted((drawn / "test").rglob("*.jpg")), "--jsonl")
    assert answers.status == 0, answers.err


def test_fine_tuning_goes_on_from_the_head(drawn, cache, cosine_run, tmp_path):
    run = tmp_path / "run"
    small = ("--epochs", 1, "--sizes", 64, "--batch-size", 16, "--views", 2, "--cache", cache)
    outcome = landmarks("train", drawn, *FROZEN, "--unfreeze", "--out", run, *small, *COSINE)
    assert outcome.status == 0, outcome.err
    head = read_weights(run / "head" / "weights.safetensors").tensors["head.weight"]
    tuned = read_weights(run / "weights.safetensors").tensors["head.weight"]
    assert head.shape == tuned.shape == (4, 2, 256)
    cosine = torch.nn.functional.cosine_similarity(head, tuned, dim=2)
    assert float(cosine.min()) > 0.9
    assert not torch.equal(head, tuned)


def test_a_network_from_scratch_takes_blended_targets_with_a_margin(drawn, cache, tmp_path):
    run = tmp_path / "run"
    small = (*NARROW, "--epochs", 2, "--sizes", 32, "--batch-size", 16, "--augment", "mixup,cutmix", "--mix", 1)
    outcome = landmarks("train", drawn, *small, *COSINE, "--out", run, "--cache", cache)
    assert outcome.status == 0, outcome.err
    resumed = landmarks("train", "--resume", run)
    assert resumed.status == 0, resumed.err
    assert np.isfinite(read_weights(run / "weights.safetensors").tensors["head.weight"].numpy()).all()


def test_a_run_with_another_head_is_no_start(drawn, cache, cosine_run, tmp_path):
    flags = (*FROZEN, "--init", cosine_run, "--out", tmp_path / "run", "--cache", cache)
    outcome = landmarks("train", drawn, *flags)
    assert outcome.status == 2
    assert "its head is of another kind: give the --head and --sub-centers of the run" in outcome.complaint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [("--margin", 0.2), ("--sub-centers", 3), ("--scale", 10)])
def test_what_a_linear_head_has_not_is_refused(drawn, tmp_path, flags):
    outcome = landmarks("train", drawn, *flags, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert f"{flags[0]} must be used with --head cosine" in outcome.complaint
