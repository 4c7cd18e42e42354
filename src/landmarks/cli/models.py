"""`landmarks models`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from landmarks.cli.declare import Argument, Jsonl
from landmarks.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from landmarks.model.folder import ModelInfo

COLLECTIONS = 4
"""Collections that are listed; the model card has them all."""


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
    from landmarks.model.calibration import Calibration
    from landmarks.model.folder import ONNX_FILE
    from landmarks.model.ood import is_landmark
    from landmarks.model.operating_points import points_to_dict

    learned = read_learned(folder, info)
    points = {} if info.calibration is None else Calibration.from_dict(info.calibration).operating_points
    return {
        "name": info.name,
        "path": str(folder),
        "landmarks": int(is_landmark(info.classes).sum()),
        "architecture": info.architecture,
        "precision": info.precision,
        "bytes": (folder / ONNX_FILE).stat().st_size,
        "calibrated": info.calibration is not None,
        "created": str(info.created),
        "licence": info.licence,
        "origin": [asdict(one) for one in info.origin],
        "operating_points": points_to_dict(points),
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
    click.echo(f"  licence: {row['licence']}")
    for line in _origin(row["origin"]):
        click.echo(line)
    for name, point in row["operating_points"].items():
        click.echo(f"  --prefer {name}: {_expected(point['expected'])}")
    for one in row["learned"]:
        rejected = f", {one['rejected']} rejected" if one["rejected"] else ""
        click.echo(f"  learned: {one['name']} from {one['photos']} photos{rejected}")


def _origin(origin: list[dict[str, Any]]) -> Iterator[str]:
    from landmarks.model.origin import Origin

    if origin:
        shown = [Origin(**one).words for one in origin[:COLLECTIONS]]
        more = f" and {len(origin) - COLLECTIONS} more: see the model card" if len(origin) > COLLECTIONS else ""
        yield f"  learned from: {', '.join(shown)}{more}"


def _expected(rates: dict[str, Any]) -> str:
    from landmarks.model.operating_points import WORDS

    shown = [
        f"{WORDS[key]} {rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
        for key, rate in rates.items()
    ]
    return ", ".join(shown) or "not measured"
