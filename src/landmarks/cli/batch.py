"""`landmarks batch`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import click

from landmarks.cli.declare import Data, Option, Verbosity
from landmarks.cli.inputs import require_output
from landmarks.cli.remote import local_data
from landmarks.training.config.settings import (
    DEFAULT_METHOD,
    AugmentationName,
    DataSettings,
    ModelKind,
    default_settings,
)


def batch(
    data: Data,
    out: Annotated[Path, Option("PNG to write.")] = Path("batch.png"),
    method: Annotated[
        ModelKind, Option("Way of training whose augmentation is shown; --unfreeze has that of scratch.")
    ] = DEFAULT_METHOD,
    augment: Annotated[
        tuple[AugmentationName, ...] | None,
        Option("Augmentations, as for landmarks train.", default="those of the method"),
    ] = None,
    count: Annotated[int, Option("Number of images.", minimum=1)] = 8,
    seed: Annotated[int, Option("Seed of the draw and the augmentation.")] = 0,
    cache: Annotated[Path | None, Option("Folder for decoded images.", default="the user's cache folder")] = None,
    *,
    verbosity: Verbosity,
) -> None:
    """Save an image of sample training images before and after augmentation."""
    require_output("out", out, (".png",))

    from landmarks.cli.progress import RunProgress
    from landmarks.files.state import user_cache
    from landmarks.training.data.folders import limit_evenly, read_data_folder
    from landmarks.training.data.loaders import decode_folder, make_loaders, visualize_one_batch

    settings = DataSettings(seed=seed)
    root = local_data(data, cache, verbosity)
    usual = default_settings(root, method).augment
    shown_as = replace(usual, names=usual.names if augment is None else augment, sizes=(224,))
    with RunProgress(verbosity, unit="images") as shown:
        shown.stage("reading images")
        folder = read_data_folder(root, valid_size=settings.valid_size, seed=seed, cache=cache)
        folder = replace(folder, train=tuple(limit_evenly(folder.train, max(count, 64), seed)))
        prepared = decode_folder(folder, cache or user_cache(), progress=shown.progress)
        for note in prepared.folder.notes:
            shown.remark(note)
        for line in prepared.folder.skipped:
            shown.detail(line)
        for broken in prepared.broken:
            shown.note(f"{broken.path}: {broken.reason}")
    loaders = make_loaders(prepared, settings, shown_as)
    visualize_one_batch(loaders, out, count=count, seed=seed)
    click.echo(f"picture: {out}")
