"""Rewrites the tags that a library has recorded in another language; nothing is recognised anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from landmarks.geo import Language
from landmarks.library.batch import Batch, Outcome, Work
from landmarks.library.languages.translation import Translation, identity_in_language
from landmarks.library.library import Library
from landmarks.library.moves import follow_moves
from landmarks.library.records import Change, PhotoRow
from landmarks.library.writing import Snapshot
from landmarks.tagging.tags import ImageTags, tags_from_json


def relabel(
    library: Library, language: Language, *, below: Path | None = None, dry_run: bool = False
) -> Iterator[Outcome]:
    """Rewrite the recorded tags of a library in another language, as a run of its own that can be undone.

    Verdicts of the user stand. A photo that has changed since it was tagged is left to the next run.

    Args:
        library: The library.
        language: The language.
        below: Only photos in this folder, or this photo.
        dry_run: Yield what would be written and change nothing.

    Yields:
        One outcome for each photo with recorded tags.

    Raises:
        InputError: `below` is not in the library.
        MissingExtraError: Another language than English needs Babel, which is not installed.
        StorageError: The disk is full. All that was done before is kept.
    """
    ledger, translation = library.ledger, Translation(language)
    folder = b"" if below is None else library.key(below)
    folder = b"" if folder == b"." else folder
    follow_moves(ledger, library.root)
    seen: set[bytes] = set()
    batch = Batch(ledger, library.root, library.options, library.files.tool, read_only=dry_run, kind="relabel")
    try:
        for page in ledger.standing(below=folder):
            for change in page:
                if change.photo not in seen:  # the newest comes first
                    seen.add(change.photo)
                    yield from _relabel_one(library, batch, change, language, translation)
        yield from batch.flush()
        if batch.run is not None:
            ledger.finish_run(batch.run)
    finally:
        batch.abandon()
    if not dry_run:
        ledger.rename_keys(lambda key: _in_language(key, language), below=folder)


def _relabel_one(
    library: Library, batch: Batch, change: Change, language: Language, translation: Translation
) -> Iterator[Outcome]:
    photo = library.root / os.fsdecode(change.photo)
    row = library.ledger.photo(change.photo)
    snapshot = _unchanged(library, photo, row)
    if row is None or snapshot is None or not (batch.read_only or library.ledger.claim(change.photo)):
        yield Outcome(photo, "changed")
        return
    tags = translation.tags(tags_from_json(library.ledger.tags(change.photo) or change.tags))
    result = ImageTags(photo, tags, (), identity_in_language(change.model, language))
    work = Work(photo, change.photo, snapshot, _in_language(row.key, language))
    yield from batch.amend(work, result, change)


def _unchanged(library: Library, photo: Path, row: PhotoRow | None) -> Snapshot | None:
    """Return the state of a photo if it has the content that it had when it was tagged; else None."""
    if row is None or row.state != "done":
        return None
    try:
        now = library.files.look(photo)
    except OSError:
        return None
    return now if now.sha256 == row.sha256 else None


def _in_language(key: str, language: Language) -> str:
    """Return the key of a photo, a model and options, in another language."""
    model, blank, options = key.rpartition(" ")
    return identity_in_language(model, language) + blank + options
