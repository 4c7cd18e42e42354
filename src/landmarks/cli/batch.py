"""`landmarks batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def batch(
    data: Annotated[Path, typer.Argument(help="Image folder.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("batch.png"),
    augment: Annotated[str | None, typer.Option(help="Augmentations, as in landmarks train.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the draw and the augmentation.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures.")] = None,
) -> None:
    """Save a picture of sample training pictures before and after augmentation."""
    from typing import Any

    from landmarks.training.config.settings import AugmentSettings
    from landmarks.training.data.loaders import get_data_loaders, visualize_one_batch

    names: Any = tuple(augment.split(",")) if augment is not None else AugmentSettings().names
    loaders = get_data_loaders(
        data,
        augment=AugmentSettings(names=names, sizes=(224,)),
        limit=max(count, 64),
        seed=seed,
        cache=cache,
    )
    visualize_one_batch(loaders, out, count=count, seed=seed)
    typer.echo(f"picture: {out}")
