"""`landmarks cache`."""

from __future__ import annotations

import shutil
from typing import Annotated

import click

from landmarks.cli.declare import Option


def cache(
    clear: Annotated[bool, Option("Clear the cache; its content can be made or copied again.")] = False,
) -> None:
    """Show the cache folder of decoded images, embeddings and data sets from object storage, and its size."""
    from landmarks.files.state import user_cache

    folder = user_cache()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    if clear and folder.is_dir():
        shutil.rmtree(folder)
    click.echo(f"{folder}: {size / 1e6:.1f} MB{' removed' if clear else ''}")
