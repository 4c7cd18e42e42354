"""`landmarks search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Argument, Jsonl, Model, Option
from landmarks.cli.inputs import Reading
from landmarks.cli.output import print_json, print_text
from landmarks.errors import InputError, SettingsError, counted
from landmarks.files.walker import unreached

if TYPE_CHECKING:
    from landmarks.search.searcher import Match, PhotoSearcher


def search(
    photo: Annotated[Path | None, Argument("Find photos similar to this one.")] = None,
    folder: Annotated[Path, Option("Folder that was indexed, or one below it.", flag="--in")] = Path(),
    tag: Annotated[str | None, Option("Only photos with this tag: a landmark, city, country or kind.")] = None,
    near_duplicates: Annotated[bool, Option("List groups of nearly identical photos.")] = False,
    alike: Annotated[
        float | None, Option("With --near-duplicates: minimum similarity of a pair.", default="0.9")
    ] = None,
    top: Annotated[int | None, Option("Number of photos.", default="10", minimum=1)] = None,
    all_photos: Annotated[
        bool, Option("All photos, most similar first, instead of the top.", flag="--all")
    ] = False,
    expand: Annotated[int, Option("Expand the query by this many neighbours; 0 for none.", minimum=0)] = 0,
    rerank: Annotated[int, Option("Re-rank the top N by local features; 0 for none.", minimum=0)] = 0,
    model: Model = "world",
    index: Annotated[
        str | None, Option("Folder or s3:// address of the index.", default="that of the folder")
    ] = None,
    jsonl: Jsonl = False,
    *,
    reading: Reading,
) -> None:
    """Find similar photos, photos with a tag, or near-duplicates in an index.

    Prints the score (1 for the same photo) and the path of each photo; with --rerank also how many local features
    it shares with the query. Build the index with landmarks index, with the same model.
    """
    if near_duplicates == (photo is not None or tag is not None):
        raise SettingsError("landmarks search needs a photo or `tag`, or else `near_duplicates`: give one of them")
    if alike is not None and not near_duplicates:
        raise SettingsError("`alike` needs `near_duplicates`: give it too")
    for name, value in (("rerank", rerank), ("expand", expand)):
        if value and photo is None:
            raise SettingsError(f"`{name}` compares photos with a photo: give one too")
    if near_duplicates and (all_photos or top is not None):
        name = "all_photos" if all_photos else "top"
        raise SettingsError(f"`{name}` is not for `near_duplicates`, which lists all groups: leave it out")
    if index is None and (missing := unreached(folder)) is not None:
        raise InputError(f"{folder}: {missing.message}")

    from landmarks.model.folder import find_model
    from landmarks.search.index import find_place, place_of
    from landmarks.search.searcher import PhotoSearcher

    searcher = PhotoSearcher(find_place(folder) if index is None else place_of(index), find_model(model), reading)
    if near_duplicates:
        _show_groups(searcher, 0.9 if alike is None else alike, jsonl=jsonl)
        return
    count = max(1, len(searcher)) if all_photos else top or 10
    if photo is not None:
        matches = searcher.similar(photo, max(count, rerank), tag=tag, expansion=expand)
        if rerank:
            from landmarks.search import rerank as local

            matches = [*local.rerank(photo, matches[:rerank], reading.limits), *matches[rerank:]][:count]
    else:
        matches = searcher.tagged(str(tag), count)
    _show_all(matches, jsonl=jsonl, scored=photo is not None)
    if tag is not None:
        _tell_of_tags(searcher, None if matches else tag)


def _tell_of_tags(searcher: PhotoSearcher, missing: str | None) -> None:
    if missing is not None:
        print_text(f"{searcher.root}: no photo in the index has the tag {missing!r}", err=True)
    if count := searcher.outdated():
        tags = f"the tags of {counted(count, 'photo')} are from before the model was taught or changed"
        print_text(f"{searcher.root}: {tags}: run landmarks index", err=True)


def _show_all(matches: Sequence[Match], *, jsonl: bool, scored: bool) -> None:
    for match in matches:
        if jsonl:
            score = {"score": round(match.score, 6)} if scored else {}
            inliers = {"inliers": match.inliers} if match.inliers is not None else {}
            print_json({"path": str(match.path), **score, "tags": match.tags, **inliers})
        else:
            shared = "" if match.inliers is None else f"  {match.inliers:4d}"
            print_text(f"{match.score:.3f}{shared}  {match.path}" if scored else str(match.path))


def _show_groups(searcher: PhotoSearcher, alike: float, *, jsonl: bool) -> None:
    outdated: list[Path] = []
    for group in searcher.near_duplicates(alike, on_outdated=outdated.append):
        if jsonl:
            print_json({"paths": list(map(str, group))})
        else:
            print_text("\n".join(map(str, group)) + "\n")
    if outdated:
        left_out = f"{counted(len(outdated), 'photo')} left out, gone or changed since the index was updated"
        print_text(f"{searcher.root}: {left_out}: run landmarks index", err=True)
