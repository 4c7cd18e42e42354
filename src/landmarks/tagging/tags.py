"""Tags of a photo, and the candidates behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from landmarks.geo.gazetteer import Place

if TYPE_CHECKING:  # the recogniser imports ONNX Runtime, which undo and reject do not need
    from landmarks.model.recognizer import Candidate

Level = Literal["landmark", "city", "country", "kind"]
"""How specific a tag is, from most to least."""

LEVELS: tuple[Level, ...] = get_args(Level)

Origin = Literal["photo", "position", "estimated"]
"""What a tag is derived from: what the photo shows, where the camera was, or where it probably was."""


@dataclass(frozen=True)
class Tag:
    """A tag of a photo.

    Attributes:
        name: Display name of the landmark, city, country or kind.
        level: Which of these it is.
        probability: Confidence, 0 to 1. Calibrated for the classes of a calibrated model; an uncalibrated estimate
            for a landmark learned from a few photos.
        place: The landmark's place, or one in the city or country; None when unknown.
        class_name: The class of the model; None if the tag combines several, or was learned later.
        source: What it is derived from. A tag from the camera's position means that the photo was taken there,
            with probability 1; a landmark near the camera need not be in the photo.
    """

    name: str
    level: Level
    probability: float
    place: Place | None
    class_name: str | None
    source: Origin = "photo"


@dataclass(frozen=True)
class ImageTags:
    """The tags of one photo.

    Attributes:
        path: The photo, as given; `<bytes>`, `<array>` or `<image>` for one from memory.
        tags: The tags; empty if the model is not confident of any.
        candidates: The most likely classes, most likely first.
        model: Identity of the model; if it changes, photos are tagged again.
        error: Why the photo is unreadable, or None.
        sha256: SHA-256 of the content; None if it was not requested.
    """

    path: Path
    tags: tuple[Tag, ...]
    candidates: tuple[Candidate, ...]
    model: str
    error: str | None = None
    sha256: bytes | None = field(default=None, compare=False, repr=False)


def photo_tag(tags: Iterable[Tag]) -> Tag | None:
    """Return the first tag of what the photo shows, or None."""
    return next((tag for tag in tags if tag.source == "photo"), None)


def tags_to_json(tags: Iterable[Tag]) -> str:
    """Return tags as JSON, for `tags_from_json`."""
    return json.dumps(list(tags), ensure_ascii=False, default=vars)


def tags_from_json(text: str) -> tuple[Tag, ...]:
    """Parse the output of `tags_to_json`."""
    tags = []
    for values in json.loads(text):
        place = values.pop("place")
        tags.append(Tag(**values, place=None if place is None else Place(**place)))
    return tuple(tags)
