"""`landmarks batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Argument, Option
from landmarks.training.config.settings import AugmentationName, AugmentSettings


def batch(
    data: Annotated[Path, Argument("Image folder.")],
    out: Annotated[Path, Option("PNG to write.")] = Path("batch.png"),
    augment: Annotated[
        tuple[AugmentationName, ...] | None, Option("Augmentations, as for landmarks train.")
    ] = None,
    count: Annotated[int, Option("Number of images.", minimum=1)] = 8,
    seed: Annotated[int, Option("Seed of the draw and the augmentation.")] = 0,
    cache: Annotated[Path | None, Option("Folder for decoded images.")] = None,
) -> None:
    """Save an image of sample training images before and after augmentation."""
    from landmarks.training.data.loaders import get_data_loaders, visualize_one_batch

    names = AugmentSettings().names if augment is None else augment
    loaders = get_data_loaders(
        data,
        augment=AugmentSettings(names=names, sizes=(224,)),
        limit=max(count, 64),
        seed=seed,
        cache=cache,
    )
    visualize_one_batch(loaders, out, count=count, seed=seed)
    click.echo(f"picture: {out}")
