"""The runs and models that several integration tests look at; each is made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blank_plots import blank_plots
from commands import landmarks
from shared_fixture import made_once, shared_folder
from tiny_backbone import NARROW, TINY_BACKBONE
from warm import start_server


@pytest.fixture(scope="session", autouse=True)
def _exports(exports_once: None) -> None:
    pass


@pytest.fixture(scope="session", autouse=True)
def _warm_server(request: pytest.FixtureRequest) -> None:
    wanted = {"WarmCommand", "warm_ranks"}
    if any(not wanted.isdisjoint(vars(item.module)) for item in request.session.items):
        start_server()


@pytest.fixture(scope="module", autouse=True)
def _blank_plots() -> Iterator[None]:
    """Leave the plots of reports blank: drawing them takes longer than a small training."""
    with pytest.MonkeyPatch.context() as patch:
        blank_plots(patch)
        yield


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded pictures and embeddings that the tests share where a cache is not what they test."""
    return shared_folder(tmp_path_factory, "cache")


def _made(*words: object) -> None:
    outcome = landmarks(*words)
    assert outcome.status == 0, outcome.err


@pytest.fixture(scope="session")
def scratch_run(drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run from scratch, of a narrow network that learns little."""
    small = (*NARROW, "--epochs", 6, "--sizes", 48, "--batch-size", 16, "--ema", 0.8)
    train = ("train", drawn, "--cache", cache, *small, "--out")
    return made_once(tmp_path_factory, "scratch", lambda run: _made(*train, run))


@pytest.fixture(scope="session")
def transfer_run(drawn: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a frozen backbone."""
    small = ("--model", "transfer", *TINY_BACKBONE, "--epochs", 10, "--views", 2, "--batch-size", 16)
    train = ("train", drawn, "--cache", cache, *small, "--out")
    return made_once(tmp_path_factory, "transfer", lambda run: _made(*train, run))


@pytest.fixture(scope="session")
def scratch_model(scratch_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run from scratch, exported in fp32."""
    export = ("export", scratch_run, "--precision", "fp32", "--out")
    return made_once(tmp_path_factory, "scratch-model", lambda model: _made(*export, model))


@pytest.fixture
def copy_run(tmp_path: Path) -> Callable[..., Path]:
    """Copy a run without its checkpoints, which are large, so that a test may spoil it."""

    def copy(run: Path, *, data: Path | None = None) -> Path:
        copied = tmp_path / f"{run.name}-copy"
        shutil.copytree(run, copied, ignore=shutil.ignore_patterns("*.ckpt", "tensorboard"))
        if data is not None:
            settings = json.loads((copied / "settings.json").read_text())
            (copied / "settings.json").write_text(json.dumps({**settings, "data": str(data)}))
        return copied

    return copy
