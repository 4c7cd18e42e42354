"""`landmarks export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Fields, Option, Verbosity
from landmarks.errors import SettingsError
from landmarks.training.config.jobs import ExportSettings


def export(
    run: Annotated[Path, Argument("Run folder made by landmarks train.")],
    out: Annotated[Path | None, Option("Model folder to make.", default="RUN/model")] = None,
    notes: Annotated[Path | None, Option("Markdown file about your data and purpose, for the model card.")] = None,
    *,
    settings: Annotated[ExportSettings, Fields(omit=("notes",))],
    verbosity: Verbosity,
) -> None:
    """Export a trained run as a model folder: ONNX, TorchScript, model.json and a model card.

    The exports are compared with the trained network on validation images; one that differs is not written.
    """
    if notes is not None and not notes.is_file():
        raise SettingsError(f"`notes` must be a text file, not {str(notes)!r}")

    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.trained import load_data, load_run
    from landmarks.training.export.export import export_run

    text = notes.read_text(encoding="utf-8", errors="replace") if notes else ""
    trained = load_run(run)
    target = out or run / "model"
    with RunProgress(verbosity, unit="images") as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("exporting and comparing")
        proof = export_run(trained, data, target, replace(settings, notes=text))
    click.echo(
        f"TorchScript differs by at most {proof.torchscript:.1e} of probability, fp32 ONNX by {proof.onnx:.1e}"
    )
    click.echo(f"fp32 is right on {proof.valid_accuracy:.4f} of the validation pictures")
    if proof.int8_valid_accuracy is not None:
        click.echo(f"int8 is right on {proof.int8_valid_accuracy:.4f} of the validation pictures")
    click.echo(f"model: {target}")
