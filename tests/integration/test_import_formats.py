"""`landmarks models add` takes what `landmarks export --for timm` writes, and answers as the trained run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import landmarks

from landmarks.imaging.preprocessing import prepare
from landmarks.model.folder import read_info
from landmarks.model.recognizer import Recognizer
from landmarks.training.engine.trained import TrainedRun, load_data, load_run
from landmarks.training.export.export import trained_probabilities
from landmarks.training.export.formats import timm_files


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def added(tmp_path: Path, *arguments: object) -> Path:
    outcome = landmarks("models", "add", *arguments)
    assert outcome.status == 0, outcome.err
    return Path(outcome.out.splitlines()[-1].removeprefix("model: "))


def crops_of(run: TrainedRun) -> np.ndarray:
    return np.stack([prepare(one.path, run.preprocessing) for one in load_data(run).folder.test[:4]])


def test_timm_folder_of_our_own_answers_as_the_trained_network(
    transfer_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm_files, "LENGTH_PICTURES", 8)
    monkeypatch.setattr(timm_files, "ACCURACY_PICTURES", 8)
    run, made = load_run(transfer_run), tmp_path / "towers"
    made.mkdir()
    timm_files.write_timm(run, load_data(run), made)
    folder = added(tmp_path, made)
    info, crops = read_info(folder), crops_of(run)
    assert (info.name, info.classes, info.preprocessing) == ("towers", run.classes, run.preprocessing)
    assert info.architecture == json.loads((made / "config.json").read_text())["architecture"]
    found = Recognizer(folder).answer(crops).probabilities
    assert found == pytest.approx(trained_probabilities(run, crops), abs=1e-4)
