"""The notebooks run on a small drawn set, and each .ipynb is its .py with outputs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from shared_fixture import shared_folder

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("cnn_from_scratch", "transfer_learning", "app")

jupytext = pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


STARTUP = f"""
import sys
from pathlib import Path
import pytest
sys.path.append({str(Path(__file__).parents[1])!r})
from blank_plots import blank_plots
from exported_once import remember_exports
from tiny_backbone import small_networks
patch = pytest.MonkeyPatch()
remember_exports(patch, Path({{!r}}))
small_networks(patch)
blank_plots(patch)
"""
"""What the kernel runs first: it shares the exports with the other tests, and its networks are small."""


def printed(notebook: Any) -> str:
    """All that the cells print and show as text or HTML."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(
        output.get("text", "")
        + "".join(output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html"))
        for output in outputs
    )


@pytest.mark.parametrize("name", NAMES)
def test_script_and_notebook_are_in_step(name: str) -> None:
    script = jupytext.read(NOTEBOOKS / f"{name}.py")
    notebook = jupytext.read(NOTEBOOKS / f"{name}.ipynb")
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells]
    assert printed(notebook), "run: make notebooks"
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 1_000_000


@pytest.mark.timeout(900)
# The kernel talks to nbclient over sockets of this machine that close a little late.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_notebooks_run_on_a_drawn_set(
    drawn: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.syspath_prepend(str(NOTEBOOKS))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    # The app shows the model that transfer_learning exports.
    for variable, value in {"DATA": drawn, "OUT": tmp_path, "QUICK": 1, "MODEL": tmp_path / "model-1"}.items():
        monkeypatch.setenv(variable, str(value))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "exports.py").write_text(STARTUP.format(str(shared_folder(tmp_path_factory, "exports"))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    run = __import__("run")
    # One kernel for all: each would import PyTorch anew.
    said = {name: printed(notebook) for name, notebook in run.execute(NAMES, tmp_path).items()}
    sys.modules.pop("run")
    assert "largest difference of a probability" in said["cnn_from_scratch"]
    assert "fine-tuned" in said["transfer_learning"]
    assert "I don't know" in said["app"]
    assert "not a picture" in said["app"], "a broken file gets its reason"
    assert (tmp_path / "model-1" / "model.pt").is_file()
