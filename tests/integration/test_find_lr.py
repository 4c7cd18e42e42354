"""`landmarks train --find-lr`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from commands import landmarks
from PIL import Image
from tiny_backbone import NARROW

from landmarks.training.engine import rate_finder


@pytest.mark.parametrize("head", [(), ("--head", "cosine", "--rare-margin", 0.4)])
def test_a_rate_is_suggested_and_no_run_is_made(
    head: tuple[object, ...], drawn: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rate_finder, "find_rate", partial(rate_finder.find_rate, steps=24))
    flags = (*NARROW, *head, "--augment", "flip", "--sizes", 32, "--limit", 24, "--batch-size", 4)
    flags += ("--threads", 1, "--cache", cache)
    outcome = landmarks("train", drawn, *flags, "--find-lr", "curve.png")
    assert outcome.status == 0, outcome.err
    suggestion = float(outcome.out.split("learning rate of ")[1].split()[0])
    assert 1e-6 <= suggestion <= 10
    assert outcome.out.endswith("curve: curve.png\n")
    with Image.open("curve.png") as curve:
        assert curve.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("flag", ["--out", "--track"])
def test_options_of_a_run_are_refused(drawn: Path, flag: str) -> None:
    outcome = landmarks("train", drawn, "--find-lr", "curve.png", flag, "mlflow")
    assert (outcome.status, outcome.complaint) == (2, f"--find-lr makes no run: leave out {flag}")
