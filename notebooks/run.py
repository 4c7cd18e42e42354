"""Execute the notebooks: each .py becomes the .ipynb beside it, with its outputs.

`python notebooks/run.py` runs all of them, in the order in which they build on each other;
`python notebooks/run.py app` runs one. What they read is in their first cells and comes from the environment:
DATA, OUT, QUICK and others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NAMES = ("cnn_from_scratch", "transfer_learning", "app")


FORGET = nbformat.v4.new_code_cell("get_ipython().reset()")
"""Run between notebooks that share a kernel: none sees a name of another."""


def execute(names: Sequence[str], folder: Path) -> dict[str, nbformat.NotebookNode]:
    """Execute notebooks from their .py, one after another in one kernel, and write them with outputs.

    Args:
        names: In the order in which they build on each other.
        folder: Gets the .ipynb files.

    Returns:
        Each notebook with its outputs, by its name; all of them hold the widgets of the kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebooks = {name: jupytext.read(HERE / f"{name}.py") for name in names}
    whole = nbformat.v4.new_notebook()  # nbclient starts a kernel per notebook
    for notebook in notebooks.values():
        whole.cells += [FORGET, *notebook.cells] if whole.cells else notebook.cells
    NotebookClient(whole, timeout=None, kernel_name="python3", resources={"metadata": {"path": HERE}}).execute()
    for name, notebook in notebooks.items():
        notebook.metadata.update(whole.metadata)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"{name}-{number}"  # random ones would change with every run
            cell.metadata.pop("execution", None)
        jupytext.write(notebook, folder / f"{name}.ipynb", fmt="ipynb")
    return notebooks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; without, all")
    for name in parser.parse_args().names:
        execute([name], HERE)  # a kernel each, as a reader would
        print(f"notebooks/{name}.ipynb")


if __name__ == "__main__":
    main()
