"""What is known of the tags of a photo, from its ledger and from what the model said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from landmarks.library.ledger import Ledger
from landmarks.library.records import PhotoRow
from landmarks.library.review.verdicts import judged, newest
from landmarks.serving.album.catalogue import Photo
from landmarks.serving.album.rows import Standing, facts_from_json
from landmarks.tagging.surroundings import position_of_town
from landmarks.tagging.tags import tags_from_json


def find_standing(
    ledger: Ledger, photo: Photo, row: PhotoRow | None, said: Callable[[Photo], Standing | None]
) -> Standing:
    """Return what is known of the tags of a photo; `photo.model` is set to what the ledger recorded.

    Args:
        ledger: The ledger of the library.
        photo: The photo.
        row: Its row in the ledger, or None.
        said: Returns what the model said of a photo, before any verdict; None if it was not asked.
    """
    if row is not None and (row.size, row.mtime_ns) != (photo.size, photo.mtime_ns):
        row = None
    verdicts = tuple(newest(ledger.verdicts(photo.key, row.sha256 if row is not None and row.sha256 else None)))
    photo.model = None if row is None else row.key
    if row is not None and row.state == "unreadable":
        return Standing("unreadable", (), verdicts, row.reason)
    written = () if row is None else tags_from_json(ledger.tags(photo.key) or "[]")
    answer = None if written or (row is not None and ledger.of_photo(photo.key)) else said(photo)
    if answer is not None and answer.state == "unreadable":
        return replace(answer, verdicts=verdicts)
    tags = judged(answer.tags if answer is not None else written, verdicts)
    if row is None and answer is None and not tags:
        return Standing("waiting", (), verdicts)
    reason = None if row is None or row.state == "done" else f"The tags cannot be written: {row.reason}"
    town = position_of_town(tags) if facts_from_json(photo.facts)["position"] is None else None
    return Standing("tagged" if tags else "unknown", tags, verdicts, reason, town)
