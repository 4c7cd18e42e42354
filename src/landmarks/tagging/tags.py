"""What a photo shows: its tags, and the candidates behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from landmarks.geo.gazetteer import Place

if TYPE_CHECKING:  # the recogniser loads ONNX Runtime, which undo and reject do not need
    from landmarks.model.recognizer import Candidate

Level = Literal["landmark", "city", "country", "kind"]
"""How much a tag says, from the most to the least."""


@dataclass(frozen=True)
class Tag:
    """One thing said of a photo.

    Attributes:
        name: The name to show: of the landmark, the city, the country or the kind.
        level: Which of these it is.
        probability: How sure the recogniser is, 0 to 1. Calibrated for classes of a calibrated model; an estimate
            for a landmark that was learnt from a few photos.
        place: The landmark's place, or one in the city or country; None when unknown.
        class_name: The class of the model; None where the tag sums up several, or was learnt later.
    """

    name: str
    level: Level
    probability: float
    place: Place | None
    class_name: str | None


@dataclass(frozen=True)
class ImageTags:
    """What a model finds in one photo.

    Attributes:
        path: The photo, as it was asked for; `<bytes>`, `<array>` or `<image>` for one that came from memory.
        tags: What is sure enough to be said; empty when nothing is.
        candidates: The likeliest classes, likeliest first.
        model: Identity of the model: another text means that photos are due again.
        error: Why the photo is unreadable, or None.
        sha256: Of the content that was read; None where it was not asked for.
    """

    path: Path
    tags: tuple[Tag, ...]
    candidates: tuple[Candidate, ...]
    model: str
    error: str | None = None
    sha256: bytes | None = field(default=None, compare=False, repr=False)


def tags_to_json(tags: Iterable[Tag]) -> str:
    """Return tags as text for `tags_from_json`."""
    return json.dumps([asdict(tag) for tag in tags], ensure_ascii=False)


def tags_from_json(text: str) -> tuple[Tag, ...]:
    """Read what `tags_to_json` wrote."""
    tags = []
    for values in json.loads(text):
        place = values.pop("place")
        tags.append(Tag(**values, place=None if place is None else Place(**place)))
    return tuple(tags)
