"""The table of `landmarks runs`: one row per run, or two short lines where the terminal is narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import TextWrapper

from landmarks.training.runs.experiments import RunSummary, differing


def runs_table(runs: Sequence[RunSummary], base: Path) -> tuple[list[str], list[list[str]]]:
    """Return the list of runs as header and rows of text; a missing value is empty.

    Args:
        runs: The runs.
        base: Folder that run names are relative to.
    """
    names = differing(run.settings for run in runs)
    header = ["run", "model", "data", "hash", *names, "done", "loss", "accuracy", "low", "high", "minutes"]
    rows = []
    for run in runs:
        values = [run.settings.get(name, "") for name in names]
        rate = run.accuracy
        shares = [f"{share:.4f}" for share in (rate.value, rate.low, rate.high)] if rate else ["", "", ""]
        loss = "" if run.loss is None else f"{run.loss:.4f}"
        minutes = "" if run.seconds is None else f"{run.seconds / 60:.1f}"
        name = os.path.relpath(run.root, base)
        rows.append([name, run.model, run.data, run.fingerprint, *values, str(run.epochs), loss, *shares, minutes])
    return header, rows


def short_list(runs: Sequence[RunSummary], base: Path, width: int) -> str:
    """Return the list of runs as text in `width` columns (at least 40); long names are wrapped.

    Each run has a line with its accuracy, loss, epochs and minutes, then its name and the settings that differ.
    """
    names = differing(run.settings for run in runs)
    wrapper = TextWrapper(width, subsequent_indent="    ", break_on_hyphens=False)
    lines = ["accuracy  95 % interval      loss  epochs  minutes  run and settings that differ"[:width]]
    for run in runs:
        rate = run.accuracy
        shares = f"{rate.value:8.4f}  {rate.low:.4f} to {rate.high:.4f}" if rate else f"{'-':>8}  {'-':16}"
        loss = "-" if run.loss is None else f"{run.loss:.4f}"
        minutes = "-" if run.seconds is None else f"{run.seconds / 60:.1f}"
        lines.append(f"{shares}  {loss:>7}  {run.epochs:6d}  {minutes:>7}"[:width])
        own = [f"{name}={run.settings[name]}" for name in names if run.settings.get(name)]
        where = f"on {run.data} ({run.fingerprint})" if run.fingerprint else f"on {run.data}"
        named = [os.path.relpath(run.root, base), run.model, where]
        lines += wrapper.wrap("  " + " ".join(filter(None, [*named, *own])))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
