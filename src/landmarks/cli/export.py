"""`landmarks export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by landmarks train.")],
    out: Annotated[Path | None, typer.Option(help="Model folder to make. [default: RUN/model]")] = None,
    precision: Annotated[str, typer.Option(help="int8 (small and fast) or fp32 (exact).")] = "int8",
    name: Annotated[str | None, typer.Option(help="Name of the model. [default: that of the folder]")] = None,
    torchscript: Annotated[bool, typer.Option(help="Put model.pt (TorchScript) beside model.onnx.")] = True,
    notes: Annotated[
        Path | None, typer.Option(help="Markdown file about your data and purpose, for the model card.")
    ] = None,
    negatives: Annotated[
        Path | None, typer.Option(help="Photos of no landmark, to learn when to say nothing; 99 or more.")
    ] = None,
    false_tags: Annotated[float, typer.Option(help="Share of such photos that may get a tag.")] = 0.01,
    score: Annotated[str, typer.Option(help="What tells the unknown: see docs/training.md.")] = "mahalanobis",
) -> None:
    """Turn a trained run into a model folder: ONNX, TorchScript, model.json and a model card.

    The exports are compared with the trained network on validation pictures; one that differs is not written.
    """
    from typing import cast, get_args

    from landmarks.cli.progress import RunProgress
    from landmarks.errors import SettingsError
    from landmarks.model.ood import ScoreKind
    from landmarks.training.engine.trained import load_data, load_run
    from landmarks.training.export.export import ExportSettings, OnnxPrecision, export_run

    if precision not in get_args(OnnxPrecision):
        raise SettingsError(f"--precision must be int8 or fp32, not {precision!r}")
    if score not in get_args(ScoreKind):
        raise SettingsError(f"--score must be one of {', '.join(get_args(ScoreKind))}, not {score!r}")
    if not 0 < false_tags < 1:
        raise SettingsError(f"--false-tags must be between 0 and 1, not {false_tags}")
    if notes is not None and not notes.is_file():
        raise SettingsError(f"--notes must be a text file, not {str(notes)!r}")
    if negatives is not None and not negatives.is_dir():
        raise SettingsError(f"--negatives must be a folder of photos, not {str(negatives)!r}")
    settings = ExportSettings(
        precision=cast(OnnxPrecision, precision),
        name=name,
        torchscript=torchscript,
        notes=notes.read_text(encoding="utf-8", errors="replace") if notes else "",
        negatives=negatives,
        false_tags=false_tags,
        score=cast(ScoreKind, score),
    )
    trained = load_run(run)
    target = out or run / "model"
    with RunProgress() as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("exporting and comparing")
        proof = export_run(trained, data, target, settings)
    typer.echo(
        f"TorchScript differs by at most {proof.torchscript:.1e} of probability, fp32 ONNX by {proof.onnx:.1e}"
    )
    typer.echo(f"fp32 is right on {proof.valid_accuracy:.4f} of the validation pictures")
    if proof.int8_valid_accuracy is not None:
        typer.echo(f"int8 is right on {proof.int8_valid_accuracy:.4f} of the validation pictures")
    typer.echo(f"model: {target}")
