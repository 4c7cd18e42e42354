"""`landmarks data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import click

from landmarks.cli.declare import Argument, Data, Option, UnpackCache, Verbosity
from landmarks.cli.remote import local_data


def data(
    data: Data,
    cache: UnpackCache = None,
    *,
    verbosity: Verbosity,
) -> None:
    """Show classes and images of a data set, without decoding them."""
    from landmarks.training.data.folders import list_splits, require_classes
    from landmarks.training.data.listing import is_shard_set

    root = local_data(data, cache, verbosity)
    if is_shard_set(root):
        from landmarks.training.data.shards import read_shard_set

        shards = read_shard_set(root)
        shards.require_shards()
        folder = shards.folder()
        counts = folder.counts()
        _show("train", shards.class_counts)
        for split in ("valid", "test"):
            _show(split, [count[split] for count in counts.values() if count[split]])
        _tell(folder.notes, folder.skipped, verbosity)
        return
    splits = list_splits(root, cache)
    for listed in splits.values():
        require_classes(listed, list(listed.pictures), at_least=1)
    for split, listed in splits.items():
        _show(split if len(splits) > 1 else "", [len(paths) for paths in listed.pictures.values()])
        _tell(listed.notes, listed.skipped, verbosity)


def _show(split: str, counts: Sequence[int]) -> None:
    sizes = sorted(counts)
    name = f"{split}: " if split else ""
    spread = f", {sizes[0]} to {sizes[-1]} per class, median {sizes[len(sizes) // 2]}" if sizes else ""
    click.echo(f"{name}{sum(sizes)} images of {len(sizes)} classes{spread}")


def _tell(notes: Sequence[str], skipped: Sequence[str], verbosity: Verbosity) -> None:
    if not verbosity.quiet:
        for line in (*notes, *(skipped if verbosity.verbose else ())):
            click.echo(line, err=True)


def import_(
    collection: Annotated[Literal["gldv2"], Argument("Collection: gldv2 (Google Landmarks v2).")],
    listing: Annotated[Path, Option("train_clean.csv or train.csv of the collection.", flag="--csv")],
    images: Annotated[Path, Option("Folder of its images, with the folders 0 to f.")],
    out: Annotated[Path, Option("Table to write.")] = Path("gldv2.csv"),
    names: Annotated[
        Path | None, Option("train_label_to_category.csv, with the names.", default="their numbers")
    ] = None,
    min_images: Annotated[int, Option("Leave out landmarks with fewer images.", minimum=1)] = 3,
    limit_classes: Annotated[
        int | None, Option("At most so many landmarks, those with the most images.", minimum=2)
    ] = None,
) -> None:
    """Make a table of a known collection that landmarks train takes; copies no image."""
    from landmarks.training.data.gldv2 import import_gldv2

    importers = {"gldv2": import_gldv2}
    found = importers[collection](
        listing, images, out, names=names, min_images=min_images, limit_classes=limit_classes
    )
    told = {
        "images are not in the folder": found.missing,
        "entries are no image": found.malformed,
        "images are listed under several landmarks": found.ambiguous,
        f"landmarks have fewer than {min_images} images": found.small,
        "landmarks are beyond the limit": found.beyond,
    }
    for words, count in told.items():
        if count:
            click.echo(f"left out: {count} {words}", err=True)
    click.echo(f"{found.pictures} images of {found.classes} landmarks: {found.table}")


COMMANDS = {"import": import_}
