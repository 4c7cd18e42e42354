"""`landmarks search`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from landmarks.search.searcher import Match


def search(
    photo: Annotated[Path | None, typer.Argument(help="A picture; photos like it are found.")] = None,
    folder: Annotated[Path, typer.Option("--in", help="Folder that was indexed, or one below it.")] = Path(),
    tag: Annotated[
        str | None, typer.Option(help="Only photos with this tag: a landmark, city, country or kind.")
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="List groups of nearly the same picture.")
    ] = False,
    alike: Annotated[
        float | None, typer.Option(help="With --near-duplicates: score that a pair needs. [default: 0.9]")
    ] = None,
    count: Annotated[int, typer.Option("-k", "--count", min=1, help="How many photos.")] = 10,
    expand: Annotated[int, typer.Option(min=0, help="Neighbours that the query is expanded by; 0 for none.")] = 0,
    rerank: Annotated[
        int,
        typer.Option(
            min=0,
            help="The first so many, or -k if that is more, are put in order by local features too; 0 for none.",
        ),
    ] = 0,
    model: Annotated[str, typer.Option(help="The model that the index was built with.")] = "world34",
    place: Annotated[
        str | None,
        typer.Option("--index", help="Folder or s3:// address of the index. [default: that of the folder]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """Find the photos most like a picture, those with a tag, or near-duplicates, in an index.

    Prints the score (1 for the same picture) and the path of each photo; with --rerank also how many local
    features it shares with the picture.
    """
    from landmarks.model.folder import find_model
    from landmarks.search.index import find_place
    from landmarks.search.searcher import PhotoSearcher

    if near_duplicates == (photo is not None or tag is not None):
        raise SettingsError("landmarks search needs a photo or --tag, or else --near-duplicates: give one of them")
    if alike is not None and not near_duplicates:
        raise SettingsError("--alike is about near-duplicates: give --near-duplicates too")
    if rerank and photo is None:
        raise SettingsError("--rerank compares photos with a picture: give the picture too")
    searcher = PhotoSearcher(place or find_place(folder), find_model(model))
    if near_duplicates:
        for group in searcher.near_duplicates(0.9 if alike is None else alike):
            _show_group(group, as_json=as_json)
        return
    if photo is not None:
        matches = searcher.similar(photo, max(count, rerank), tag=tag, expansion=expand)
        if rerank:
            from landmarks.search import rerank as local

            matches = local.rerank(photo, matches)[:count]
    else:
        matches = searcher.tagged(str(tag), count)
    for match in matches:
        _show(match, as_json=as_json, scored=photo is not None)


def _show(match: Match, *, as_json: bool, scored: bool) -> None:
    if as_json:
        row = {"path": str(match.path), **({"score": round(match.score, 6)} if scored else {}), "tags": match.tags}
        row |= {"inliers": match.inliers} if match.inliers is not None else {}
        typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        shared = "" if match.inliers is None else f"  {match.inliers:4d}"
        typer.echo(f"{match.score:.3f}{shared}  {match.path}" if scored else str(match.path))


def _show_group(group: Sequence[Path], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"paths": list(map(str, group))}, ensure_ascii=False))
    else:
        typer.echo("\n".join(map(str, group)) + "\n")
