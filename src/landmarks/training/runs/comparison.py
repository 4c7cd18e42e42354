"""Two runs compared on one page: the test result, curves, settings and classes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from landmarks.training.reports.experiment_plots import compared_curves
from landmarks.training.reports.page import both_ends, drawing, write_page
from landmarks.training.runs.experiments import Comparison
from landmarks.training.runs.folder import RunFolder, read_history

SIGNIFICANT = 0.05
"""P value below which a difference is called significant."""


def verdict(comparison: Comparison) -> str:
    """Return the result of the test, in a sentence or two."""
    pairs = comparison.pairs
    first, second = (str(run.root) for run in comparison.runs)
    seen = (
        f"Of {pairs.count} {comparison.split} pictures, {pairs.first} are recognised by {first} alone and "
        f"{pairs.second} by {second} alone"
    )
    if pairs.first == pairs.second == 0:
        return f"Of {pairs.count} {comparison.split} pictures, both runs recognise the same ones."
    tested = f"McNemar's test (mid-p) gives p = {pairs.p_value:.2g}"
    if pairs.p_value >= SIGNIFICANT:
        return f"{seen}. {tested}: no significant difference."
    better = second if pairs.second > pairs.first else first
    return f"{seen}. {tested}: {better} is better."


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the comparison as one HTML file, atomically.

    Raises:
        RunError: The history of a run is damaged.
        StorageError: The file cannot be written.
    """
    runs = comparison.runs
    names = _short_names(runs[0].root, runs[1].root)
    histories = {
        name: [asdict(row) for row in read_history(RunFolder(run.root).history)]
        for name, run in zip(names, runs, strict=True)
    }
    last = {name: f"{rows[-1]['valid_accuracy']:.1%}" for name, rows in histories.items() if rows}
    alt = "Loss and accuracy by epoch of both runs. Last validation accuracy: " + ", ".join(
        f"{name} {value}" for name, value in last.items()
    )
    values: dict[str, object] = {
        "title": f"{names[0]} and {names[1]}",
        "names": names,
        "comparison": comparison,
        "classes": both_ends(comparison.classes),
        "verdict": verdict(comparison),
        "curves": drawing(compared_curves(histories), alt),
    }
    write_page(path, "comparison.html.jinja", values)


def _short_names(first: Path, second: Path) -> tuple[str, str]:
    if first.resolve().name != second.resolve().name:
        return first.resolve().name, second.resolve().name
    # A trailing space distinguishes them if somebody compares a run with itself.
    return str(first), str(second) + ("" if str(first) != str(second) else " ")
