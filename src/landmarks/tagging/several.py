"""Two models as one: what each is held to, and what they tag together.

Each model first decides alone, by its own thresholds. Then:

1. Neither tags the photo: no tag. One of them does: its tag.
2. Both tag the same place: one tag, with the larger probability. If one tags what the other's tag lies in or is,
   such as a city and a tower in it: the more specific tag.
3. They tag different places: these exclude each other, so each is weighed against the other and against both being
   wrong. What is then at least `CLEAR` probable is tagged, else only what the two have in common: the city, the
   country or the kind; else nothing.

The target false-positive rate is split: each model is used at its operating point `precision`, which is chosen for
half the rate of `balanced`, and a photo gets a false tag only where at least one of the two gives one. A model
without operating points keeps its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from landmarks.errors import SettingsError
from landmarks.geo.gazetteer import Gazetteer, distance_km
from landmarks.geo.spelling import folded, folded_words
from landmarks.model.folder import read_info
from landmarks.model.recognizer import Candidate
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, identity_of
from landmarks.tagging.tags import LEVELS, Tag

CLEAR = 0.8
"""Probability at which one of two contradicting tags is given."""

SAME_KM = 0.5
"""Places this close with one key, or names that contain each other, are one; landmarks may share a square."""

_ALMOST_CERTAIN = 1 - 1e-6  # its odds are finite


def keeps_threshold(folder: Path) -> bool:
    """Return whether a model has no operating point `precision`, and so keeps its threshold beside another."""
    calibration = read_info(folder).calibration
    points = calibration.get("operating_points") if isinstance(calibration, Mapping) else None
    return not (isinstance(points, Mapping) and "precision" in points)


def settings_beside(folder: Path, settings: TagSettings) -> TagSettings:
    """Return the settings of a model that is used beside another one.

    Raises:
        SettingsError: An operating point with more false tags is asked for.
    """
    if settings.prefer == "recall":
        raise SettingsError("`prefer` is recall, but two models share one false-positive rate: leave it out")
    return settings if keeps_threshold(folder) else replace(settings, prefer="precision")


def identity_of_models(folders: Sequence[Path], settings: TagSettings) -> str:
    """Return the identity of one model or of two used together; see `landmarks.tagging.tagger.identity_of`."""
    if len(folders) == 1:
        return identity_of(folders[0], read_info(folders[0]), settings)
    return "+".join(identity_of(one, read_info(one), settings_beside(one, settings)) for one in folders)


def same_place(one: Tag, other: Tag) -> bool:
    """Return whether two tags mean the same, maybe under two names.

    Landmarks are the same by their Wikidata ID. Else their key or spelling decides where a position is unknown; if
    both are known, they must be close together, with one key or the words of one name among those of the other.
    A key alone may mean two places, as each model may have a table of its own.
    """
    if one.level != other.level:
        return False
    first, second = one.place, other.place
    equal = folded(one.name) == folded(other.name)
    if one.level != "landmark":
        return equal and (first is None or second is None or first.country == second.country)
    if first is None or second is None:
        return equal
    if first.wikidata is not None and first.wikidata == second.wikidata:
        return True
    one_key = first.key == second.key
    if first.coordinates is None or second.coordinates is None:
        return one_key or equal
    words, others = set(folded_words(one.name)), set(folded_words(other.name))
    contained = words <= others or others <= words
    return (one_key or contained) and distance_km(first.coordinates, second.coordinates) <= SAME_KM


def agree(one: Tag | None, other: Tag | None) -> tuple[Tag | None, str]:
    """Return what two models together tag, and why.

    Args:
        one: What the first tags, or None.
        other: What the second tags, or None.
    """
    if one is None or other is None:
        tag = one or other
        return tag, "no model tags the photo" if tag is None else f"one model tags the photo: {tag.name}"
    if same_place(one, other):
        # A name that the gazetteer knows is the better one.
        best = max(one, other, key=lambda tag: (tag.place is not None, tag.probability))
        probability = max(one.probability, other.probability)
        return replace(best, probability=probability), f"both models tag {best.name}"
    specific, general = sorted((one, other), key=lambda tag: LEVELS.index(tag.level))
    if _fits(specific, general):
        return specific, f"{specific.name} is the more specific tag, and {general.name} fits it"
    odds = [_odds(tag.probability) for tag in (one, other)]
    likelier = one if odds[0] >= odds[1] else other
    probability = max(odds) / (1 + sum(odds))
    weighed = f"the models differ, which leaves {likelier.name} {probability:.1%} (needs {CLEAR:.1%})"
    if probability >= CLEAR:
        return replace(likelier, probability=probability), weighed
    common = _common(one, other, sum(odds) / (1 + sum(odds)))
    return common, f"{weighed}; in common: {common.name if common is not None else 'nothing'}"


def decide(
    findings: tuple[Finding, Finding], names: tuple[str, str], gazetteer: Gazetteer, *, model: str, top: int
) -> Finding:
    """Return the finding of two models from those of each.

    Args:
        findings: What each found, without tags from the camera's position.
        names: Names of the models, for the explanation.
        gazetteer: Places of both.
        model: Identity of both.
        top: Candidates per photo.
    """
    first, second = findings
    photo = replace(first.photo, model=model)
    if first.explanation is None or second.explanation is None:
        return Finding(photo, None)
    tag, why = agree(_tag_of(first), _tag_of(second))
    candidates = _candidates((*first.photo.candidates, *second.photo.candidates), gazetteer)[:top]
    leading = second.explanation if second.photo.tags and not first.photo.tags else first.explanation
    contradiction = first.explanation.contradiction or second.explanation.contradiction
    explanation = replace(
        leading,
        contradiction=contradiction if tag is None else None,
        each=((names[0], first.explanation), (names[1], second.explanation)),
        decision=why,
    )
    return Finding(replace(photo, tags=() if tag is None else (tag,), candidates=candidates), explanation)


def _tag_of(finding: Finding) -> Tag | None:
    return finding.photo.tags[0] if finding.photo.tags else None


def _odds(probability: float) -> float:
    bounded = min(probability, _ALMOST_CERTAIN)
    return bounded / (1 - bounded)


def _fits(specific: Tag, general: Tag) -> bool:
    """Return whether the more general of two tags is what the more specific one lies in or is."""
    if specific.level == general.level:
        return False
    inner, outer = specific.place, general.place
    if general.level == "kind":  # a city or country says nothing about it
        return specific.level != "landmark" or (inner is not None and inner.kind == general.name)
    if inner is None or outer is None or inner.country != outer.country:
        return False
    return general.level == "country" or inner.city == outer.city


def _common(one: Tag, other: Tag, probability: float) -> Tag | None:
    """Return the tag of what two different places share, or None."""
    first, second = one.place, other.place
    if first is None or second is None:
        return None
    if first.country and first.country == second.country:
        if first.city and first.city == second.city:
            return Tag(first.city, "city", probability, first, None)
        return Tag(first.country, "country", probability, first, None)
    if one.level == other.level == "landmark" and first.kind and first.kind == second.kind:
        return Tag(first.kind, "kind", probability, None, None)
    return None


def _candidates(candidates: Sequence[Candidate], gazetteer: Gazetteer) -> tuple[Candidate, ...]:
    """Return the candidates of both models, each place once, most likely first."""
    best: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: -one.probability):
        place = gazetteer.find(candidate.class_name)
        best.setdefault(
            folded(gazetteer.display_name(candidate.class_name)) if place is None else place.key, candidate
        )
    return tuple(best.values())
