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
    out: Annotated[Path | None, Option("Folder to make.", default="RUN/model, or RUN/TARGET")] = None,
    notes: Annotated[Path | None, Option("Markdown file about your data and purpose, for the model card.")] = None,
    *,
    settings: Annotated[ExportSettings, Fields(omit=("notes",), flags={"target": "--for"})],
    verbosity: Verbosity,
) -> None:
    """Export a trained run as a model folder (ONNX, TorchScript, model.json, model card) or for other programs.

    The exports are compared with the trained network on validation images; one that differs is not written.
    """
    if notes is not None:
        if not notes.is_file():
            raise SettingsError(f"`notes` must be a text file, not {str(notes)!r}")
        settings = replace(settings, notes=notes.read_text(encoding="utf-8", errors="replace"))

    from landmarks.cli.progress import RunProgress
    from landmarks.training.engine.trained import load_data, load_run
    from landmarks.training.export.formats.targets import export_for, require_exportable

    trained = load_run(run)
    target = out or run / settings.folder_name
    require_exportable(trained, target, settings)
    with RunProgress(verbosity, unit="images") as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("exporting and comparing")
        compared = export_for(trained, data, target, settings)
    for sentence in compared:
        click.echo(sentence)
    click.echo(f"model: {target}")
