"""Shared fixtures: separate caches, few threads, drawn images, and the real ones if they are available."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

PROJECT = Path(__file__).resolve().parents[1]

HOMES = ("CACHE", "STATE", "DATA", "CONFIG")
"""Where caches, ledgers, learned landmarks and settings of a user are."""

# tests/ is a folder and no package: this lets a test write `from drawn import draw_dataset`.
sys.path.append(str(PROJECT / "tests"))


# A busy machine makes any example slow now and then. Each run has the same examples: a failure is of the change.
hypothesis.settings.register_profile("landmarks", deadline=None, derandomize=True)
hypothesis.settings.load_profile("landmarks")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep what is imported until the end: looking through it for garbage took a tenth of all the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # libraries complain at the exit about what is still there


@pytest.fixture
def hang_up_counts() -> Iterator[None]:
    """Let services end at SIGHUP, which they ignore where it is ignored, such as in tests under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Keep session-wide fixtures out of the user's folders; yields a new folder for each test."""
    homes = tmp_path_factory.mktemp("homes")
    with pytest.MonkeyPatch.context() as patch:
        live_in(homes / "session", patch)
        # One for all tests: without it every process that draws with matplotlib lists the fonts anew.
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        yield (homes / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test folders of its own for what is kept, so that none depends on another or on the user."""
    live_in(next(_homes), monkeypatch)


def live_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the folders of the user be below `folder`; none is made yet."""
    for kind in HOMES:
        patch.setenv(f"XDG_{kind}_HOME", str(folder / kind.lower()))


@pytest.fixture(autouse=True)
def _few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch take two threads at most, here and in processes the test starts, without importing it."""
    if "OMP_NUM_THREADS" not in os.environ:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 2:
        torch.set_num_threads(2)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn data set: 4 classes, 12 training and 4 test pictures each. Read it, never write to it."""
    from drawn import draw_dataset

    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root)
    return root


@pytest.fixture(scope="session")
def exports_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each network be exported and quantised once, see `exported_once`."""
    from exported_once import remember_exports
    from shared_fixture import shared_folder

    with pytest.MonkeyPatch.context() as patch:
        remember_exports(patch, shared_folder(tmp_path_factory, "exports"))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images beside the project; tests that need them are skipped if they are missing."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real pictures (../shared/data) do not lie beside the project")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated recogniser of colours."""
    from tiny_model import calibrated, make_model

    return make_model(tmp_path_factory.mktemp("models") / "colours", calibration=calibrated())
