"""Compares the answer of a model for one photo with the ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from landmarks.geo.gazetteer import Place
from landmarks.tagging.tagger import Finding
from landmarks.tagging.tags import Tag
from landmarks.training.evaluation.matching import KnownLandmarks
from landmarks.training.evaluation.photos import Photo
from landmarks.training.evaluation.subjects import Subject

Outcome = Literal["rightly", "wrongly", "coarser", "untagged", "unreadable"]
"""`rightly` and `wrongly` are tags that name a landmark; `coarser` ones name a city, a country or a kind."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One photo, its tag, and whether that is correct.

    Attributes:
        photo: The photo and its ground truth.
        outcome: Never `rightly` for a photo without a landmark or of an unknown one.
        ranked: The most likely landmarks with their probabilities, most likely first; each landmark once.
        score: The OOD score, or without one the probability of the most likely landmark.
        tag: The tag, or None.
        tag_is_true: Whether the tag, even a coarser one, is true of the photo; None without a tag.
        confident: Whether the most likely landmark could be a tag if its score passed the threshold.
        error: Why the photo is unreadable, or None.
    """

    photo: Photo
    outcome: Outcome
    ranked: tuple[tuple[str, float], ...] = ()
    score: float = 0.0
    tag: Tag | None = None
    tag_is_true: bool | None = None
    confident: bool = False
    error: str | None = None

    @property
    def probability(self) -> float:
        """Probability of the most likely landmark."""
        return self.ranked[0][1] if self.ranked else 0.0

    def right_within(self, count: int) -> bool:
        """Return whether the landmark is among the `count` most likely."""
        return self.photo.role == "known" and self.photo.group in {key for key, _ in self.ranked[:count]}

    def to_dict(self) -> dict[str, Any]:
        """Return the row of `--jsonl`."""
        tag = self.tag
        return {
            "path": self.photo.path.as_posix(),
            "role": self.photo.role,
            "group": self.photo.group,
            "source": self.photo.source,
            "outcome": self.outcome,
            "tag": None if tag is None else {"level": tag.level, "name": tag.name, "probability": tag.probability},
            "tag_is_true": self.tag_is_true,
            "ranked": [{"landmark": key, "probability": probability} for key, probability in self.ranked],
            "score": None if self.error else self.score,
            "error": self.error,
        }


def judge_photos(subject: Subject, photos: Iterable[Photo], known: KnownLandmarks) -> Iterator[Judgement]:
    """Run a model on photos and judge its answers, in order; an unreadable photo does not stop the others."""
    asked = list(photos)
    findings = subject.answer(photo.path for photo in asked)
    for photo, finding in zip(asked, findings, strict=True):
        yield judge(photo, finding, known)


def judge(photo: Photo, finding: Finding, known: KnownLandmarks) -> Judgement:
    """Compare the answer for a photo with the ground truth."""
    said, why = finding.photo, finding.explanation
    if why is None:
        return Judgement(photo, "unreadable", error=said.error or "unreadable")
    tag = said.tags[0] if said.tags else None
    ranked = _ranked(finding, known)
    score = ranked[0][1] if why.score is None and ranked else (why.score or 0.0)
    # Without an OOD score the probability is the score, and its threshold is the only one.
    confident = why.score is None or (bool(ranked) and ranked[0][1] >= why.needed)
    judged = Judgement(photo, "untagged", ranked, score, tag, confident=confident)
    if tag is None:
        return judged
    if tag.level == "landmark" or tag.class_name is not None:
        right = photo.role != "negative" and _key(tag, known) == photo.group
        return replace(judged, outcome="rightly" if right else "wrongly", tag_is_true=right)
    place = None if photo.role == "negative" else known.place(photo.group)
    return replace(judged, outcome="coarser", tag_is_true=_holds(tag, place))


def _ranked(finding: Finding, known: KnownLandmarks) -> tuple[tuple[str, float], ...]:
    """Return the most likely landmarks; several classes of one landmark count once, at their best."""
    said = finding.photo
    found: dict[str, float] = {}
    for tag in said.tags:
        if tag.level == "landmark" and tag.class_name is None:  # taught later: not a class of the network
            found[known.key(tag.name)] = tag.probability
    for candidate in said.candidates:
        found.setdefault(known.key(candidate.class_name), candidate.probability)
    return tuple(found.items())


def _key(tag: Tag, known: KnownLandmarks) -> str:
    return known.key(tag.class_name if tag.class_name is not None else tag.name)


def _holds(tag: Tag, place: Place | None) -> bool:
    """Return whether a city, country or kind is that of the place in the photo."""
    if place is None:
        return False
    if tag.level == "kind":
        return tag.name == place.kind
    same_country = tag.place is None or tag.place.country == place.country
    return same_country and tag.name == (place.city if tag.level == "city" else place.country)
