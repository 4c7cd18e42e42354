"""`landmarks models`."""

from __future__ import annotations

import typer


def models() -> None:
    """List the models that come with the package."""
    from landmarks.model_folder import ONNX_FILE, bundled_models, read_info
    from landmarks.unknown import is_landmark

    found = bundled_models()
    if not found:
        typer.echo("no model comes with this package: train one and name its folder with --model", err=True)
    for name, folder in found.items():
        info = read_info(folder)
        size = (folder / ONNX_FILE).stat().st_size / 1e6
        calibrated = "knows what it does not know" if info.calibration is not None else "not calibrated"
        landmarks = int(is_landmark(info.classes).sum())
        typer.echo(
            f"{name}: {landmarks} landmarks, {info.architecture}, {info.precision}, {size:.1f} MB, {calibrated}, "
            f"{info.created}  {folder}"
        )
