"""`landmarks evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import click

from landmarks.cli.declare import Argument, Jsonl, Option, Verbosity
from landmarks.cli.output import print_json


def evaluate(
    run: Annotated[Path, Argument("Run folder made by landmarks train.")],
    split: Annotated[Literal["valid", "test", "both"], Option("Split to evaluate.")] = "both",
    jsonl: Jsonl = False,
    *,
    verbosity: Verbosity,
) -> None:
    """Evaluate a trained run and write its metrics, tables and report.

    Prints loss and accuracy with 95 % intervals; everything else is in the run folder.
    """
    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.trained import SPLITS, evaluate_run, load_data, load_run

    trained = load_run(run)
    with RunProgress(verbosity, unit="images") as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("evaluating")
        evaluations = evaluate_run(trained, data, splits=SPLITS if split == "both" else (split,))
    if not jsonl:
        click.echo("split  images    loss    top-1   95 % interval     top-5   macro F1  ECE")
    for name, found in evaluations.items():
        if jsonl:
            print_json(
                {
                    "split": name,
                    "images": found.count,
                    "loss": found.loss,
                    "top1": {"value": found.top1.value, "low": found.top1.low, "high": found.top1.high},
                    "top5": found.top5.value,
                    "macro_f1": found.macro.f1,
                    "calibration_error": found.calibration.error,
                }
            )
        else:
            click.echo(
                f"{name:5}  {found.count:8d}  {found.loss:.4f}  {found.top1.value:.4f}  "
                f"{found.top1.low:.4f} - {found.top1.high:.4f}  {found.top5.value:.4f}  {found.macro.f1:.4f}    "
                f"{found.calibration.error:.4f}"
            )
    click.echo(f"report: {trained.folder.report}", err=jsonl)
