"""All photos of a run seen together: clocks corrected, tags taken away and raised, positions estimated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from landmarks.geo.gazetteer import Gazetteer
from landmarks.metadata.reading import Facts, read_facts
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, gazetteer_of
from landmarks.tagging.tags import ImageTags, Tag, photo_tag
from landmarks.tagging.trips.clocks import ClockError, Fix, find_clock_errors
from landmarks.tagging.trips.consistency import Change, Sighting, reconcile
from landmarks.tagging.trips.parts import parts_of
from landmarks.tagging.trips.positions import Shot, estimate_positions, with_estimate
from landmarks.tagging.trips.trip import (
    Bars,
    Moment,
    bars_of,
    recorded_sighting,
    settled,
    sighting_of,
    without_rejected,
)


class Records(Protocol):
    """What earlier runs and the user said of photos, such as a library."""

    def judged(self, photo: ImageTags) -> tuple[Tag, ...]:
        """Return the tags of a photo after the user's verdicts."""

    def recorded(self, photo: Path) -> tuple[Tag, ...] | None:
        """Return the recorded tags of a photo, or None."""

    def confirmed(self, photo: Path) -> tuple[Tag, ...]:
        """Return the tags of a photo that the user has confirmed."""


@dataclass(frozen=True)
class Trip:
    """What the photos of one trip tell about each other.

    Attributes:
        findings: The findings, in the order given, after all changes.
        changes: Tags taken away and raised, by photo.
        doubtful: Number of sure landmarks that contradict each other, so that they decide nothing.
        clock_errors: Cameras whose clocks were corrected.
        estimated: Number of photos that got a tag for an estimated position.
    """

    findings: tuple[Finding, ...]
    changes: Mapping[Path, Change]
    doubtful: int
    clock_errors: tuple[ClockError, ...]
    estimated: int


@dataclass(frozen=True)
class TripTagger:
    """Sees the photos of a run together.

    Attributes:
        facts: When, where and with what each photo was taken, also those that are not tagged in this run, in the
            order in which photos are tagged.
        bars: How certain tags must be.
        gazetteer: The places.
        within: Longest time to the photos between which a position is estimated; None to estimate none.
    """

    facts: Mapping[Path, Facts]
    bars: Bars
    gazetteer: Gazetteer
    within: timedelta | None

    @classmethod
    def of(
        cls, photos: Iterable[Path], folders: Sequence[Path], settings: TagSettings, within: timedelta | None
    ) -> TripTagger:
        """Return that of a model, or of two, for photos; each is opened once.

        Args:
            photos: All photos of the run.
            folders: Model folders.
            settings: How to tag.
            within: As in the class.
        """
        facts = {photo: read_facts(photo) for photo in photos}
        if not settings.use_position:
            facts = {photo: replace(one, position=None) for photo, one in facts.items()}
        return cls(facts, bars_of(folders, settings), gazetteer_of(folders, settings), within)

    def tag(self, findings: Iterable[Finding], records: Records) -> Iterator[Trip]:
        """Yield the findings of a run after what its photos tell about each other, as soon as that is known.

        Photos between which enough time has passed are different trips: each is decided after its last photo.

        Args:
            findings: What was found in each photo, in the order of `facts`; photos may be left out.
            records: What is known of the photos from earlier.
        """
        parts = parts_of(self.facts)
        photos: dict[int, list[Path]] = defaultdict(list)
        for photo in self.facts:
            photos[parts[photo]].append(photo)
        places = {photo: place for place, photo in enumerate(self.facts)}
        ends = {part: places[inside[-1]] for part, inside in photos.items()}
        zoned = all(one.taken.tzinfo is not None for one in self.facts.values() if one.taken is not None)
        waiting: dict[int | None, list[Finding]] = {}
        for finding in findings:
            path = finding.photo.path
            part, place = parts.get(path), places.get(path, -1)
            waiting.setdefault(part, []).append(finding)
            for closed in [one for one in waiting if one is None or ends[one] <= place]:
                inside = [] if closed is None else photos[closed]
                yield self._trip(waiting.pop(closed), inside, records, zoned=zoned)
        for part, found in waiting.items():
            yield self._trip(found, [] if part is None else photos[part], records, zoned=zoned)

    def _trip(self, findings: Sequence[Finding], photos: Sequence[Path], records: Records, *, zoned: bool) -> Trip:
        """Return what the photos of a trip tell about each other.

        Args:
            findings: What was found in this run.
            photos: All photos of the trip.
            records: What is known of the photos from earlier.
            zoned: Whether the times of all trips are universal.
        """
        found = [_after_verdicts(finding, records) for finding in findings]
        sightings = self._sightings(found, photos, records)
        errors = find_clock_errors(self._fixes(sightings))
        sightings = [self._on_time(sighting, errors) for sighting in sightings]
        reconciled = reconcile(sightings, zoned=zoned)
        settled_findings = [settled(one, reconciled.changes, self.gazetteer) for one in found]
        estimated = self._with_estimates(settled_findings, sightings, zoned=zoned)
        count = sum(one is not other for one, other in zip(estimated, settled_findings, strict=True))
        wrong = tuple(errors[camera] for camera in sorted(errors))
        return Trip(tuple(estimated), reconciled.changes, reconciled.doubtful, wrong, count)

    def _sightings(self, found: Sequence[Finding], photos: Sequence[Path], records: Records) -> list[Sighting]:
        """Return what each photo tells, at the time of its own clock: first those of this run."""
        sightings = []
        for finding in found:
            path = finding.photo.path
            sighting = sighting_of(finding, self._moment(path), self.bars, self.gazetteer)
            sighting = without_rejected(sighting, finding, self.gazetteer, records.judged)
            confirmed = _is_among(finding.photo.tags, records.confirmed(path))
            sightings.append(replace(sighting, confirmed=confirmed))
        new = {finding.photo.path for finding in found}
        for photo in (photo for photo in photos if photo not in new):
            tags = records.recorded(photo) or ()
            sighting = recorded_sighting(photo, tags, self._moment(photo), self.bars)
            sightings.append(replace(sighting, confirmed=_is_among(tags, records.confirmed(photo))))
        return sightings

    def _moment(self, photo: Path) -> Moment:
        facts = self.facts.get(photo, Facts())
        return Moment(facts.taken, facts.position)

    def _fixes(self, sightings: Iterable[Sighting]) -> Iterable[Fix]:
        for sighting in sightings:
            facts = self.facts.get(sighting.photo, Facts())
            if sighting.taken is not None and sighting.where is not None:
                positioned = sighting.position is not None
                yield Fix(facts.device, sighting.taken, sighting.where, positioned, facts.satellite_time)

    def _on_time(self, sighting: Sighting, errors: Mapping[str, ClockError]) -> Sighting:
        error = errors.get(self.facts.get(sighting.photo, Facts()).device)
        if error is None or sighting.taken is None:
            return sighting
        try:
            return replace(sighting, taken=sighting.taken + error.behind)
        except OverflowError:  # there is no year 10000
            return replace(sighting, taken=None)

    def _with_estimates(
        self, findings: Sequence[Finding], sightings: Iterable[Sighting], *, zoned: bool
    ) -> list[Finding]:
        if self.within is None:
            return list(findings)
        known = (
            Shot(one.photo, one.taken, one.where if one.position or one.confirmed else None) for one in sightings
        )
        estimates = estimate_positions(known, self.within, zoned=zoned)
        return [with_estimate(finding, estimates, self.gazetteer) for finding in findings]


def _after_verdicts(finding: Finding, records: Records) -> Finding:
    """Return a finding without the tags that the user has rejected, and with those confirmed."""
    photo = finding.photo
    if photo.error is not None:
        return finding
    tags = records.judged(photo)
    return finding if tags == photo.tags else replace(finding, photo=replace(photo, tags=tags))


def _is_among(tags: Iterable[Tag], confirmed: Iterable[Tag]) -> bool:
    """Return whether the tag of what a photo shows is among the confirmed ones, in whatever language."""
    own = photo_tag(tags)
    return own is not None and any(one.source == "photo" and _is_same(one, own) for one in confirmed)


def _is_same(one: Tag, other: Tag) -> bool:
    if one.level == other.level == "landmark" and one.place is not None and other.place is not None:
        return one.place.key == other.place.key
    return (one.level, one.name) == (other.level, other.name)
