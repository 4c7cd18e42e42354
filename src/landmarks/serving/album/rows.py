"""The row of a photo as the page gets it: when and where it was taken, its tags, and what was said of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from landmarks.geo.gazetteer import Gazetteer, Place
from landmarks.library.records import Verdict
from landmarks.library.review.verdicts import is_confirmed
from landmarks.serving.album.catalogue import Answer
from landmarks.tagging.tags import Tag, tags_from_json

if TYPE_CHECKING:
    from landmarks.metadata.reading import Facts

_NOWHERE = dict.fromkeys(("key", "name", "city", "country", "kind", "latitude", "longitude"))

State = Literal["waiting", "tagged", "unknown", "unreadable"]
Said = Literal["confirm", "reject", "rename", "clear"]


@dataclass(frozen=True)
class Standing:
    """What is known of the tags of a photo.

    Attributes:
        state: Whether it has tags.
        tags: Its tags, after the user's verdicts.
        verdicts: The verdicts that stand, oldest first.
        reason: Why it is unreadable, or why its tags are not written; None if all is well.
        town: Middle of the town that the photo was taken in, in degrees, if its tags tell; None if they do not.
    """

    state: State = "waiting"
    tags: tuple[Tag, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    reason: str | None = None
    town: tuple[float, float] | None = None


def facts_to_json(facts: Facts) -> str:
    """Return facts as JSON, for `facts_from_json`."""
    taken = None if facts.taken is None else facts.taken.isoformat()
    return json.dumps([taken, facts.camera or None, facts.position, facts.size])


def facts_from_json(text: str | None) -> dict[str, Any]:
    """Return `taken`, `camera`, `position` and `size` of facts as JSON; all are None if there is no text."""
    values = (None,) * 4 if text is None else json.loads(text)
    return dict(zip(("taken", "camera", "position", "size"), values, strict=True))


def make_row(number: int, key: bytes, version: str, facts: str | None, standing: Standing) -> dict[str, Any]:
    """Return the row of a photo.

    Args:
        number: Its number.
        key: Its path relative to the root, as bytes.
        version: Its version.
        facts: What its camera recorded, as JSON, or None.
        standing: Its tags.
    """
    known, path = facts_from_json(facts), PurePath(os.fsdecode(key))
    tag = shown_tag(standing)
    place = tag.place if tag is not None and tag.level != "kind" else None
    position, source = known["position"], "camera"
    if position is None:
        placed = (one.place.coordinates for one in standing.tags if one.level == "landmark" and one.place)
        position = next((where for where in placed if where is not None), None)
        source = "landmark"
    if position is None:
        position, source = standing.town, "estimated" if _is_estimated(standing.tags) else "town"
    latitude, longitude = position if position is not None else (None, None)
    verdict = _verdict(tag, standing.verdicts)
    return {
        "id": number,
        "name": path.name,
        "folder": "" if path.parent == PurePath() else path.parent.as_posix(),
        "version": version,
        "state": standing.state,
        "reason": standing.reason,
        "taken": known["taken"],
        "camera": known["camera"],
        "latitude": latitude,
        "longitude": longitude,
        "position": source if position is not None else None,
        "name_of_tag": tag.name if tag is not None else None,
        "level": tag.level if tag is not None else None,
        "source": tag.source if tag is not None else None,
        "city": (place.city or None) if place is not None and tag is not None and tag.level != "country" else None,
        "country": (place.country or None) if place is not None else None,
        "probability": round(tag.probability, 4) if tag is not None and tag.source != "estimated" else None,
        "tags": list(_names(standing.tags)),
        "verdict": verdict,
        "rejected": [_display(one) for one in standing.verdicts if one.verdict == "rejected"],
    }


def candidates_of(answer: Answer, gazetteer: Gazetteer) -> list[dict[str, Any]]:
    """Return the candidates of an answer with their places, most likely first."""
    found = []
    for name, probability in json.loads(answer.answer)["candidates"]:
        place = gazetteer.find(name)
        said = place_object(place) if place is not None else {**_NOWHERE, "key": name}
        found.append({**said, "name": gazetteer.display_name(name), "probability": probability})
    return found


def place_object(place: Place) -> dict[str, Any]:
    """Return a place as JSON."""
    return {
        "key": place.key,
        "name": place.name,
        "city": place.city or None,
        "country": place.country or None,
        "kind": place.kind or None,
        "latitude": place.latitude,
        "longitude": place.longitude,
    }


def shown_tag(standing: Standing) -> Tag | None:
    """Return the tag that stands for a photo: one that the user confirmed, else the first of what it shows."""
    tags = sorted(standing.tags, key=lambda tag: (not is_confirmed(tag, standing.verdicts), tag.source != "photo"))
    return tags[0] if tags else None


def _verdict(tag: Tag | None, verdicts: Sequence[Verdict]) -> str | None:
    if tag is not None and is_confirmed(tag, verdicts):
        return "confirmed"
    return "rejected" if any(one.verdict == "rejected" for one in verdicts) else None


def _is_estimated(tags: Iterable[Tag]) -> bool:
    return any(tag.source == "estimated" for tag in tags)


def _names(tags: Iterable[Tag]) -> dict[str, None]:
    names: dict[str, None] = {}
    for tag in tags:
        around = [tag.place.city, tag.place.country] if tag.place is not None and tag.level != "kind" else []
        if tag.level == "country":
            around = []
        names |= dict.fromkeys(name for name in (tag.name, *around) if name)
    return names


def _display(verdict: Verdict) -> str:
    """Return the name of a rejected tag as it was shown; the ledger itself has it case-folded."""
    if verdict.tag is not None:
        return tags_from_json(verdict.tag)[0].name
    place = Gazetteer.bundled().find(verdict.name)
    return place.name if place is not None else verdict.name
