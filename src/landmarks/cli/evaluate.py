"""`landmarks evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder made by landmarks train.")],
    split: Annotated[str, typer.Option(help="valid, test or both.")] = "both",
) -> None:
    """Measure a trained run again and write its metrics, tables and report.

    Prints loss and accuracy with 95 % intervals; everything else is in the run folder.
    """
    from landmarks.cli.progress import RunProgress
    from landmarks.errors import SettingsError
    from landmarks.training.engine.trained import SPLITS, evaluate_run, load_data, load_run

    if split not in (*SPLITS, "both"):
        raise SettingsError(f"--split must be one of valid, test, both, not {split!r}")
    trained = load_run(run)
    with RunProgress() as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("evaluating")
        evaluations = evaluate_run(trained, data, splits=SPLITS if split == "both" else (split,))
    typer.echo("split  pictures  loss    top-1   95 % interval     top-5   macro F1  ECE")
    for name, found in evaluations.items():
        typer.echo(
            f"{name:5}  {found.count:8d}  {found.loss:.4f}  {found.top1.value:.4f}  "
            f"{found.top1.low:.4f} - {found.top1.high:.4f}  {found.top5.value:.4f}  {found.macro.f1:.4f}    "
            f"{found.calibration.error:.4f}"
        )
    typer.echo(f"report: {trained.folder.report}")
