"""What a trip changes about the findings of its photos: tags vetoed and raised, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import Calibration, calibration_of, operating_point
from landmarks.model.folder import read_info
from landmarks.model.operating_points import Preference
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding
from landmarks.tagging.tags import ImageTags, Tag, photo_tag
from landmarks.tagging.trips.consistency import Change, Guess, Sighting

_SURE_PROBABILITY = 0.9
_SURE_UNCALIBRATED = 0.98  # softmax alone is too sure of itself
_LOOSER: dict[Preference, Preference] = {"precision": "balanced", "balanced": "recall", "recall": "recall"}


@dataclass(frozen=True)
class Bars:
    """How certain a tag must be to speak for others, and how uncertain a candidate may be that others speak for.

    Attributes:
        sure_probability: Probability of a sure tag.
        sure_score: OOD score of a photo with a sure tag; None if the model has no scores.
        near_score: OOD score that a photo needs for a candidate near a sure tag; None if none may become a tag.
    """

    sure_probability: float
    sure_score: float | None = None
    near_score: float | None = None

    @classmethod
    def of(cls, calibration: Calibration | None, settings: TagSettings) -> Bars:
        """Return those of a model: a sure tag passes `precision`, a candidate the next looser operating point."""
        if calibration is None:
            return cls(_SURE_UNCALIBRATED)
        points = calibration.operating_points
        strict = operating_point(calibration, "precision" if "precision" in points else settings.prefer)
        looser = _LOOSER[settings.prefer]
        near = operating_point(calibration, looser if looser in points else settings.prefer)
        return cls(_SURE_PROBABILITY, strict.threshold, near.threshold)


def bars_of(folders: Sequence[Path], settings: TagSettings) -> Bars:
    """Return the bars of a model folder, or of two that tag together.

    Each of two has passed its own threshold, if it has one, so every probable tag is sure; none has a score to be
    raised by.
    """
    calibrations = [calibration_of(folder, read_info(folder)) for folder in folders]
    if len(calibrations) > 1:
        return Bars(_SURE_UNCALIBRATED if None in calibrations else _SURE_PROBABILITY)
    return Bars.of(calibrations[0], settings)


@dataclass(frozen=True)
class Moment:
    """When and where a photo was taken, as far as it is known.

    Attributes:
        taken: When, by a clock that agrees with those of the other photos; None if unknown.
        position: Latitude and longitude of the camera in degrees; None if unknown.
    """

    taken: datetime | None
    position: tuple[float, float] | None


def sighting_of(finding: Finding, moment: Moment, bars: Bars, gazetteer: Gazetteer) -> Sighting:
    """Return what a finding tells about where its photo was taken.

    Args:
        finding: The finding.
        moment: When and where the photo was taken.
        bars: How certain the tags of the model must be.
        gazetteer: The places.
    """
    photo, why = finding.photo, finding.explanation
    tag = photo_tag(photo.tags)
    sighting = Sighting(photo.path, moment.taken, moment.position)
    if why is None or photo.error is not None:
        return sighting
    if tag is not None:
        return replace(sighting, tag=_guess_of(tag), sure=_is_sure(tag, finding, bars))
    if why.contradiction is not None or why.score is None or bars.near_score is None:
        return sighting
    if why.score < bars.near_score:
        return sighting
    return replace(sighting, candidates=_guesses(finding, gazetteer), needed=why.needed)


def without_rejected(
    sighting: Sighting,
    finding: Finding,
    gazetteer: Gazetteer,
    judged: Callable[[ImageTags], tuple[Tag, ...]],
) -> Sighting:
    """Return a sighting without the candidates that the user has rejected.

    Args:
        sighting: What the finding tells.
        finding: The finding.
        gazetteer: The places.
        judged: Returns the tags of a photo after the user's verdicts.
    """
    if not sighting.candidates:
        return sighting
    tags = tuple(_tag_of(guess, finding, gazetteer) for guess in sighting.candidates)
    left = {tag.name for tag in judged(replace(finding.photo, tags=tags))}
    return replace(sighting, candidates=tuple(guess for guess in sighting.candidates if guess.name in left))


def recorded_sighting(photo: Path, tags: Sequence[Tag], moment: Moment, bars: Bars) -> Sighting:
    """Return what a photo tells that was tagged by an earlier run.

    Args:
        photo: The photo.
        tags: Its recorded tags.
        moment: When and where it was taken.
        bars: How certain the tags of the model must be; of a recorded tag only the probability is known.
    """
    tag = photo_tag(tags)
    place = None if tag is None or tag.place is None else tag.place.coordinates
    if tag is None or tag.level != "landmark" or place is None:
        return Sighting(photo, moment.taken, moment.position)
    sure = tag.probability >= bars.sure_probability
    return Sighting(photo, moment.taken, moment.position, _guess_of(tag), sure)


def settled(finding: Finding, changes: Mapping[Path, Change], gazetteer: Gazetteer) -> Finding:
    """Return a finding after what its trip changes.

    Args:
        finding: The finding.
        changes: From `reconcile`.
        gazetteer: The places.
    """
    change, photo, why = changes.get(finding.photo.path), finding.photo, finding.explanation
    if change is None or why is None:
        return finding
    others = tuple(tag for tag in photo.tags if tag.source != "photo")
    if change.kind != "raised":
        sentence = f"looks like {change.guess.name} ({change.guess.probability:.0%}), but {change.reason}"
        return replace(
            finding, photo=replace(photo, tags=others), explanation=replace(why, contradiction=sentence)
        )
    tag = _tag_of(change.guess, finding, gazetteer)
    return replace(
        finding,
        photo=replace(photo, tags=(tag, *others)),
        explanation=replace(why, trip=f"{change.guess.name} raised to {tag.probability:.1%}: {change.reason}"),
    )


def _is_sure(tag: Tag, finding: Finding, bars: Bars) -> bool:
    why = finding.explanation
    if tag.level != "landmark" or tag.probability < bars.sure_probability or why is None:
        return False
    if why.learned is not None or bars.sure_score is None or why.decision is not None:
        return True
    return why.score is not None and why.score >= bars.sure_score


def _guess_of(tag: Tag) -> Guess:
    of_one_place = tag.level in {"landmark", "city"} and tag.place is not None
    return Guess(tag.name, tag.probability, tag.place.coordinates if of_one_place and tag.place else None)


def _guesses(finding: Finding, gazetteer: Gazetteer) -> tuple[Guess, ...]:
    """Return the candidates by place: several classes may be one."""
    found: dict[str, Guess] = {}
    for candidate in finding.photo.candidates:
        place = gazetteer.find(candidate.class_name)
        name = gazetteer.display_name(candidate.class_name)
        where = None if place is None else place.coordinates
        known = found.get(name)
        so_far = 0.0 if known is None else known.probability
        found[name] = Guess(name, so_far + candidate.probability, where)
    return tuple(found.values())


def _tag_of(guess: Guess, finding: Finding, gazetteer: Gazetteer) -> Tag:
    names = [one.class_name for one in finding.photo.candidates]
    chosen = next(name for name in names if gazetteer.display_name(name) == guess.name)
    return Tag(guess.name, "landmark", guess.probability, gazetteer.find(chosen), chosen)
