"""`landmarks models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from landmarks.cli.declare import Argument, Jsonl
from landmarks.cli.output import print_json

if TYPE_CHECKING:
    from landmarks.model.folder import ModelInfo


def models(
    folders: Annotated[
        tuple[Path, ...], Argument("Folders made by landmarks export, besides the bundled models.")
    ] = (),
    jsonl: Jsonl = False,
) -> None:
    """List the bundled models, and what each was taught by landmarks learn."""
    from landmarks.model.folder import bundled_models, read_info

    found = bundled_models()
    if not found:
        click.echo("no model comes with this package: train one and name its folder with --model", err=True)
    for folder in [*found.values(), *folders]:
        row = _describe(folder, read_info(folder))
        print_json(row) if jsonl else _show(row)


def _describe(folder: Path, info: ModelInfo) -> dict[str, Any]:
    from landmarks.fewshot.learned import read_learned
    from landmarks.model.folder import ONNX_FILE
    from landmarks.model.ood import is_landmark

    learned = read_learned(folder, info)
    return {
        "name": info.name,
        "path": str(folder),
        "landmarks": int(is_landmark(info.classes).sum()),
        "architecture": info.architecture,
        "precision": info.precision,
        "bytes": (folder / ONNX_FILE).stat().st_size,
        "calibrated": info.calibration is not None,
        "created": str(info.created),
        "learned": [
            {"name": one.name, "photos": len(one.vectors), "rejected": len(one.rejected)}
            for one in (learned.landmarks if learned is not None else ())
        ],
    }


def _show(row: dict[str, Any]) -> None:
    calibrated = "calibrated for unknown photos" if row["calibrated"] else "not calibrated"
    click.echo(
        f"{row['name']}: {row['landmarks']} landmarks, {row['architecture']}, {row['precision']}, "
        f"{row['bytes'] / 1e6:.1f} MB, {calibrated}, {row['created']}  {row['path']}"
    )
    for one in row["learned"]:
        rejected = f", {one['rejected']} rejected" if one["rejected"] else ""
        click.echo(f"  learned: {one['name']} from {one['photos']} photos{rejected}")
