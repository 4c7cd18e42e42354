"""`landmarks pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pack(
    data: Annotated[Path, typer.Argument(help="Image folder, as for landmarks train.")],
    out: Annotated[Path, typer.Argument(help="Folder of shards to make.")],
    valid_size: Annotated[float, typer.Option(help="Share kept for validation.")] = 0.15,
    shard_size: Annotated[int, typer.Option(help="Pictures of a shard.")] = 5000,
    sample: Annotated[int, typer.Option(help="Training pictures kept as files too, for export.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the split and the order.")] = 0,
) -> None:
    """Turn a large image folder into shards: landmarks train OUT then streams them, and starts without a scan."""
    from landmarks.cli.progress import RunProgress
    from landmarks.training.data.packing import PackSettings
    from landmarks.training.data.packing import pack as pack_folder

    settings = PackSettings(valid_size, shard_size, sample, seed)
    with RunProgress() as shown:
        shown.stage(f"packing {data}")
        packed = pack_folder(data, out, settings, progress=shown.progress)
    for line in packed.broken:
        typer.echo(line, err=True)
    typer.echo(f"{len(packed.shards)} training pictures in {len(packed.shards.shards)} shards: {out}")
