"""`landmarks pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Data, UnpackCache, Verbosity
from landmarks.cli.remote import local_data
from landmarks.errors import counted
from landmarks.training.config.jobs import PackSettings


def pack(
    data: Data,
    out: Annotated[Path, Argument("Folder of shards to make.")],
    cache: UnpackCache = None,
    *,
    settings: PackSettings,
    verbosity: Verbosity,
) -> None:
    """Pack a large image folder into shards, which landmarks train OUT streams without scanning a folder first."""
    from landmarks.cli.progress import RunProgress
    from landmarks.training.data.packing import pack as pack_folder

    folder = local_data(data, cache, verbosity)
    with RunProgress(verbosity, unit="images") as shown:
        shown.stage(f"packing {data}")
        packed = pack_folder(folder, out, settings, cache=cache, progress=shown.progress)
        for line in packed.folder.notes:
            shown.remark(line)
        for line in packed.folder.skipped:
            shown.detail(line)
        for line in packed.broken:
            shown.note(line)
    click.echo(f"{len(packed.shards)} training pictures in {counted(len(packed.shards.shards), 'shard')}: {out}")
