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
) -> None:
    """Turn a trained run into a model folder: ONNX, TorchScript, model.json and a model card.

    The exports are compared with the trained network on validation pictures; one that differs is not written.
    """
    from typing import cast, get_args

    from landmarks.cli.progress import RunProgress
    from landmarks.errors import SettingsError
    from landmarks.training.export import OnnxPrecision, export_run
    from landmarks.training.trained import load_data, load_run

    if precision not in get_args(OnnxPrecision):
        raise SettingsError(f"--precision must be int8 or fp32, not {precision!r}")
    trained = load_run(run)
    target = out or run / "model"
    with RunProgress() as shown:
        data = load_data(trained, progress=shown.progress)
        shown.stage("exporting and comparing")
        proof = export_run(
            trained, data, target, precision=cast(OnnxPrecision, precision), name=name or target.name
        )
    typer.echo(
        f"TorchScript differs by at most {proof.torchscript:.1e} of probability, fp32 ONNX by {proof.onnx:.1e}"
    )
    typer.echo(f"fp32 is right on {proof.valid_accuracy:.4f} of the validation pictures")
    if proof.int8_valid_accuracy is not None:
        typer.echo(f"int8 is right on {proof.int8_valid_accuracy:.4f} of the validation pictures")
    typer.echo(f"model: {target}")
