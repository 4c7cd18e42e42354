"""Execute the notebooks: each .py becomes the .ipynb beside it, with its outputs.

`python notebooks/run.py` runs all of them, in the order in which they build on each other;
`python notebooks/run.py app` runs one. What they read is in their first cells and comes from the environment:
DATA, OUT, QUICK and others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NAMES = ("cnn_from_scratch", "transfer_learning", "app")


def execute(name: str, target: Path) -> nbformat.NotebookNode:
    """Execute a notebook from its .py, write it with outputs, and return it.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = jupytext.read(HERE / f"{name}.py")
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": HERE}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{name}-{number}"  # random ones would change with every run
        cell.metadata.pop("execution", None)
    jupytext.write(notebook, target, fmt="ipynb")
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; without, all")
    for name in parser.parse_args().names:
        execute(name, HERE / f"{name}.ipynb")
        print(f"notebooks/{name}.ipynb")


if __name__ == "__main__":
    main()
