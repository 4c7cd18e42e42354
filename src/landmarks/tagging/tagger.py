"""The tag of a photo: the landmark, else its city, country or kind, else nothing.

A tag must pass two thresholds. The OOD score of the photo must reach the threshold of the model's calibration,
which keeps the target false-positive rate whatever the tag. And the probability must reach the minimum confidence:
that of a landmark or, failing that, the sum over a city, a country or a kind of landmark.

If the photo has GPS coordinates, a nearby landmark becomes more likely, and a distant place is not tagged. On
request tags for where the camera was follow (see `landmarks.tagging.surroundings`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from landmarks.fewshot.learned import LearnedLandmarks, learned_digest, read_learned
from landmarks.files.checksums import sha256_file
from landmarks.geo.distances import distances_km
from landmarks.geo.gazetteer import Gazetteer, distance_km
from landmarks.geo.languages import in_language
from landmarks.geo.nearby import Nearby
from landmarks.model.calibration import Calibration, operating_point
from landmarks.model.folder import PLACES_FILE, ModelInfo, places_of
from landmarks.model.ood import is_landmark, scores_of_probabilities
from landmarks.model.probabilities import highest
from landmarks.model.recognizer import Candidate, Recognition, Recognizer
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.surroundings import tags_of_position, taught_tag
from landmarks.tagging.tags import LEVELS, ImageTags, Level, Tag

_AGREEMENT = 10.0  # factor on the odds of a landmark near the camera
_LEARNED = "-learned="  # the last part of an identity


@dataclass(frozen=True)
class Explanation:
    """Why a photo got its tags, or none.

    Attributes:
        best: The most likely landmark, with its probability after GPS is used.
        runner_up: The second most likely landmark, or None.
        needed: Minimum probability for a tag.
        score: OOD score, or None if the model is not calibrated for unknown photos.
        score_needed: Minimum score of a known photo, or None.
        score_name: Name of the score, or None.
        distance: Kilometres from the camera to the best landmark, or None if either is unknown.
        contradiction: The tag that GPS or the trip ruled out, as a sentence; or None.
        trip: The tag that the trip made likely, as a sentence; or None.
        learned: Estimated probability of the learned landmark that the photo shows, or None if it shows none.
        nearby: The nearest landmark in sight of the camera, if asked for and there is one.
        each: Of two models: the name and explanation of each.
        decision: Of two models: why they tag this together.
    """

    best: Candidate
    runner_up: Candidate | None
    needed: float
    score: float | None = None
    score_needed: float | None = None
    score_name: str | None = None
    distance: float | None = None
    contradiction: str | None = None
    trip: str | None = None
    learned: float | None = None
    nearby: Nearby | None = None
    each: tuple[tuple[str, Explanation], ...] = ()
    decision: str | None = None

    @property
    def known(self) -> bool:
        """Whether the photo shows something that the model knows."""
        return self.score is None or self.score_needed is None or self.score >= self.score_needed


@dataclass(frozen=True)
class Finding:
    """The tags of a photo and their explanation.

    Attributes:
        photo: The tags.
        explanation: Why it got them; None if the photo is unreadable.
        embedding: (D,), or None if it was not requested or the photo is unreadable.
    """

    photo: ImageTags
    explanation: Explanation | None
    embedding: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class _Group:
    """Classes that share a tag."""

    level: Level
    name: str
    members: tuple[int, ...]


class Tagger:
    """Turns recognitions into tags.

    Args:
        classes: Class names in the order of the probabilities.
        calibration: Calibration of the model, or None.
        gazetteer: Places of the classes.
        settings: How to tag.
        model: Identity of the model, from `identity_of`.
        learned: Landmarks taught after training, or None.

    Attributes:
        settings: As given.
        needs_embeddings: Whether recognitions must carry the embedding.
    """

    def __init__(
        self,
        classes: Sequence[str],
        calibration: Calibration | None,
        gazetteer: Gazetteer,
        settings: TagSettings,
        model: str,
        *,
        learned: LearnedLandmarks | None = None,
    ) -> None:
        self._classes = tuple(classes)
        self._calibration = calibration
        self._gazetteer = gazetteer
        self.settings = settings
        self._landmarks = is_landmark(classes)
        # A name that is in no table, as that of the background, is looked up by spelling, which takes a while.
        self._rows = [
            gazetteer.find(name) if known else None for name, known in zip(classes, self._landmarks, strict=True)
        ]
        self._places = [row if row is not None and not row.is_thing else None for row in self._rows]
        nowhere = (np.nan, np.nan)
        self._coordinates = np.array([(row and row.coordinates) or nowhere for row in self._places])
        self._groups = self._grouped()
        # Members of all groups of a level in one array with their groups, to sum 60,000 groups in one call.
        self._members = {level: _flat(groups) for level, groups in self._groups.items()}
        point = operating_point(calibration, settings.prefer)
        self._threshold = point.threshold
        self._min_confidence = point.min_confidence if settings.min_confidence is None else settings.min_confidence
        self._model = model
        self._learned = learned
        self.needs_embeddings = learned is not None

    def tag(self, recognition: Recognition, position: tuple[float, float] | None = None) -> Finding:
        """Return the tag of a photo and why it got it, and, if asked for, the tags of the camera's position.

        Args:
            recognition: Recognition of the photo.
            position: Latitude and longitude of the camera in degrees, or None when unknown.
        """
        finding = self._recognized(recognition, position)
        return with_surroundings(finding, position, self._gazetteer) if self.settings.places else finding

    def _recognized(self, recognition: Recognition, position: tuple[float, float] | None) -> Finding:
        """Return the tag of what a photo shows."""
        photo = ImageTags(recognition.path, (), (), self._model, recognition.error)
        if recognition.probabilities is None:
            return Finding(photo, None)
        distances = self._distances(position)
        probabilities = self._with_position(recognition.probabilities.astype(np.float64), distances)
        candidates = self._candidates(probabilities, max(self.settings.top, 2))
        explanation = self._explain(recognition, probabilities, candidates, distances)
        photo = replace(photo, candidates=candidates[: self.settings.top])
        learned = self._learned_tag(recognition, candidates[0], position)
        if learned is not None:
            first = self._first(learned, candidates)[: self.settings.top]
            photo = replace(photo, tags=(learned,), candidates=first)
            return Finding(photo, replace(explanation, learned=learned.probability))
        group = self._sure_group(probabilities) if explanation.known else None
        if group is None:
            return Finding(photo, explanation)
        tag = self._tag(group, probabilities)
        far = self._far(tag, group, distances)
        if far is not None:
            sentence = f"looks like {tag.name} ({tag.probability:.0%}), but the camera stood {far:.0f} km away"
            return Finding(photo, replace(explanation, contradiction=sentence))
        return Finding(replace(photo, tags=(tag,)), explanation)

    def with_learned(self, recognition: Recognition, top: int) -> Recognition:
        """Return the recognition with the learned landmark in the photo, if any, as its first candidate."""
        if recognition.probabilities is None or self._learned is None:
            return recognition
        learned = self._learned_tag(recognition, recognition.candidates[0], None)
        first = recognition.candidates if learned is None else self._first(learned, recognition.candidates)
        return replace(recognition, candidates=first[:top])

    def _first(self, learned: Tag, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        show = self._gazetteer.display_name
        others = [one for one in candidates if show(one.class_name) != learned.name]
        return (Candidate(learned.name, learned.probability), *others)

    def _learned_tag(
        self, recognition: Recognition, best: Candidate, position: tuple[float, float] | None
    ) -> Tag | None:
        """Return the tag of the learned landmark that the photo shows, or None."""
        if self._learned is None or recognition.embedding is None:
            return None
        likeliest = best.class_name, best.probability
        match = self._learned.match(
            recognition.embedding, min_confidence=self._min_confidence, likeliest=likeliest
        )
        if match is None:
            return None
        tag = taught_tag(match.landmark, match.probability, self._gazetteer)
        where = None if tag.place is None else tag.place.coordinates
        if position is not None and where is not None and distance_km(position, where) > self.settings.far_km:
            return None
        return tag

    def _grouped(self) -> dict[Level, list[_Group]]:
        """Group the classes by the tags they can get; several classes may be one place."""
        found: dict[Level, dict[Hashable, list[int]]] = {level: {} for level in LEVELS}
        for index in np.flatnonzero(self._landmarks).tolist():
            place, row = self._places[index], self._rows[index]
            found["landmark"].setdefault(row.key if row else self._classes[index], []).append(index)
            if place is not None and place.city:
                found["city"].setdefault((place.country, place.city), []).append(index)
            if place is not None and place.country:
                found["country"].setdefault(place.country, []).append(index)
            if row is not None and row.kind:
                found["kind"].setdefault(row.kind, []).append(index)
        return {
            level: [
                _Group(level, self._group_name(level, members[0]), tuple(members)) for members in groups.values()
            ]
            for level, groups in found.items()
        }

    def _group_name(self, level: Level, member: int) -> str:
        row = self._rows[member]
        if row is None:
            return self._gazetteer.display_name(self._classes[member])
        return row.name if level == "landmark" else str(getattr(row, level))

    def _sure_group(self, probabilities: NDArray[np.float64]) -> _Group | None:
        """Return the most specific group that reaches the minimum confidence, or None."""
        for level in LEVELS:
            groups = self._groups[level]
            members, owners = self._members[level]
            sums = np.bincount(owners, weights=probabilities[members], minlength=len(groups))
            if groups and sums.max() >= self._min_confidence:
                return groups[int(sums.argmax())]
        return None

    def _tag(self, group: _Group, probabilities: NDArray[np.float64]) -> Tag:
        members = list(group.members)
        probability = min(1.0, float(probabilities[members].sum()))
        best = members[int(np.argmax(probabilities[members]))]
        place = self._places[best]
        if group.level == "kind":
            return Tag(group.name, "kind", probability, None, None)
        if group.level != "landmark":
            return Tag(group.name, group.level, probability, place, None)
        # A row that is not a place is tagged as a kind.
        level: Level = "kind" if place is None and self._rows[best] is not None else "landmark"
        return Tag(group.name, level, probability, place, self._classes[best])

    def _candidates(self, probabilities: NDArray[np.float64], top: int) -> tuple[Candidate, ...]:
        best = highest(probabilities, top, allowed=self._landmarks)
        return tuple(Candidate(self._classes[index], float(probabilities[index])) for index in best)

    def _explain(
        self,
        recognition: Recognition,
        probabilities: NDArray[np.float64],
        candidates: tuple[Candidate, ...],
        distances: NDArray[np.float64] | None,
    ) -> Explanation:
        best = self._classes.index(candidates[0].class_name)
        distance = None if distances is None or np.isnan(distances[best]) else float(distances[best])
        explanation = Explanation(
            best=candidates[0],
            runner_up=candidates[1] if len(candidates) > 1 else None,
            needed=self._min_confidence,
            distance=distance,
        )
        calibration = self._calibration
        if calibration is None or recognition.score is None:
            return explanation
        score = recognition.score
        if distances is not None:
            # GPS changes a score computed from the probabilities as it changes these.
            raised = scores_of_probabilities(calibration.score, probabilities[None], known=self._landmarks)
            score = score if raised is None else float(raised[0])
        return replace(explanation, score=score, score_needed=self._threshold, score_name=calibration.score)

    def _distances(self, position: tuple[float, float] | None) -> NDArray[np.float64] | None:
        """Return the distance in kilometres from the camera to the place of each class, NaN where unknown."""
        if position is None:
            return None
        return distances_km(position, self._coordinates)

    def _with_position(
        self, probabilities: NDArray[np.float64], distances: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        if distances is None:
            return probabilities
        weighted = probabilities * np.where(distances <= self.settings.near_km, _AGREEMENT, 1.0)
        result: NDArray[np.float64] = weighted / weighted.sum()
        return result

    def _far(self, tag: Tag, group: _Group, distances: NDArray[np.float64] | None) -> float | None:
        """Return the distance in km from the camera to the nearest place of a group if it rules out the tag."""
        if distances is None or tag.level == "kind":
            return None
        known = [distances[index] for index in group.members if not np.isnan(distances[index])]
        nearest = float(min(known)) if known else 0.0
        return nearest if nearest > self.settings.far_km else None


def _flat(groups: Sequence[_Group]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    members = [index for group in groups for index in group.members]
    owners = np.repeat(np.arange(len(groups)), [len(group.members) for group in groups])
    return np.array(members, dtype=np.int64), owners.astype(np.int64)


def with_surroundings(finding: Finding, position: tuple[float, float] | None, gazetteer: Gazetteer) -> Finding:
    """Return a finding with the tags of the camera's position, unless that is unknown or the photo unreadable."""
    explanation = finding.explanation
    if position is None or explanation is None:
        return finding
    tags, nearby = tags_of_position(position, gazetteer, finding.photo.tags)
    photo = replace(finding.photo, tags=(*finding.photo.tags, *tags))
    return replace(finding, photo=photo, explanation=replace(explanation, nearby=nearby))


def make_tagger(recognizer: Recognizer, gazetteer: Gazetteer, settings: TagSettings) -> Tagger:
    """Return the tagger of a model, including its learned landmarks."""
    info = recognizer.info
    identity = identity_of(recognizer.folder, info, settings)
    taught = learned_digest(recognizer.folder, info) is not None
    learned = read_learned(recognizer.folder, info) if taught else None
    return Tagger(info.classes, recognizer.calibration, gazetteer, settings, identity, learned=learned)


def without_learned(identity: str) -> str:
    """Return an identity without what the model was taught later."""
    return identity.partition(_LEARNED)[0]


def identity_of(folder: Path, info: ModelInfo, settings: TagSettings) -> str:
    """Return the identity of a model and of all that affects its tags; if it changes, photos are tagged again."""
    parts = [quote(info.name, safe=""), info.digest[:12]]  # blanks and + mean something around an identity
    parts += [f"min_confidence={settings.min_confidence:g}"] if settings.min_confidence is not None else []
    parts += [f"prefer={settings.prefer}"] if settings.prefer != "balanced" else []
    parts += [] if settings.use_position else ["no-position"]
    parts += ["camera-places"] if settings.places else []
    parts += [f"language={settings.language}"] if settings.language != "en" else []
    tables = [folder / PLACES_FILE, *([settings.own_places] if settings.own_places is not None else [])]
    parts += [f"places={sha256_file(table)[:12]}" for table in tables if table.is_file()]
    learned = learned_digest(folder, info)
    return "-".join(parts) + (f"{_LEARNED}{learned[:12]}" if learned is not None else "")


def gazetteer_of(folder: Path | Sequence[Path], settings: TagSettings) -> Gazetteer:
    """Return the bundled places, overridden by `places.csv` beside the model and by the user's own table.

    Args:
        folder: Model folder, or several; the table of the first takes precedence.
        settings: How to tag.

    Raises:
        PlacesError: A table is broken.
        MissingExtraError: Another language than English needs Babel, which is not installed.
    """
    gazetteer = in_language(Gazetteer.bundled(), settings.language)
    for one in reversed([folder] if isinstance(folder, Path) else folder):
        gazetteer = places_of(one, gazetteer)
    return gazetteer if settings.own_places is None else gazetteer.with_overrides(settings.own_places)
