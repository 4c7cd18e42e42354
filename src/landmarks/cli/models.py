"""`landmarks models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from landmarks.model.folder import ModelInfo


def models(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders made by landmarks export, beside the bundled models.")
    ] = None,
) -> None:
    """List the models that come with the package, and what each was taught by landmarks learn."""
    from landmarks.model.folder import bundled_models, read_info

    found = bundled_models()
    if not found:
        typer.echo("no model comes with this package: train one and name its folder with --model", err=True)
    for folder in [*found.values(), *(folders or [])]:
        _show(folder, read_info(folder))


def _show(folder: Path, info: ModelInfo) -> None:
    from landmarks.fewshot.learned import read_learned
    from landmarks.model.folder import ONNX_FILE
    from landmarks.model.ood import is_landmark

    size = (folder / ONNX_FILE).stat().st_size / 1e6
    calibrated = "knows what it does not know" if info.calibration is not None else "not calibrated"
    landmarks = int(is_landmark(info.classes).sum())
    typer.echo(
        f"{info.name}: {landmarks} landmarks, {info.architecture}, {info.precision}, {size:.1f} MB, {calibrated}, "
        f"{info.created}  {folder}"
    )
    learned = read_learned(folder, info)
    for landmark in learned.landmarks if learned is not None else ():
        rejected = f", {len(landmark.rejected)} rejected" if len(landmark.rejected) else ""
        typer.echo(f"  learnt: {landmark.name} from {len(landmark.vectors)} photos{rejected}")
