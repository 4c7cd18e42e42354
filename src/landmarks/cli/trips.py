"""`landmarks tag --trips`: sees the photos of a folder together and reports what that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Option
from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from landmarks.cli.display import Display
    from landmarks.tagging.settings import TagSettings
    from landmarks.tagging.tagger import Finding
    from landmarks.tagging.trips.together import Records, Trip

_WITHIN = "30min"

Together = Callable[["Iterable[Finding]", "Records"], "Iterator[Finding]"]
"""Changes findings by what they tell about each other."""


@dataclass(frozen=True)
class Trips:
    """Whether and how photos are seen together.

    Attributes:
        trips: See the photos of a trip together: take back tags that cannot be true, or are unsure and far from
            all others; add those near sure ones; correct the clocks of cameras. With --places, also estimate the
            town of photos without a position.
        within: With --trips and --places: longest time to the photos before and after one without a position,
            such as 30min or 2h.
    """

    trips: bool = False
    within: Annotated[str | None, Option(default=_WITHIN)] = None

    def __post_init__(self) -> None:
        if self.within is not None and not self.trips:
            raise SettingsError("`within` needs `trips`: give it too")

    def key_of(self, settings: TagSettings) -> str:
        """Return what distinguishes photos that were tagged together, for the ledger; empty if they were not."""
        if not self.trips:
            return ""
        return f"-trips={self.within or _WITHIN}" if settings.places else "-trips"

    def check(self, *, places: bool, watch: bool) -> None:
        """Refuse a time for estimates without places, and trips while photos still arrive."""
        if self.within is not None and not places:
            raise SettingsError("`within` needs `places`: give it too")
        if self.trips and watch:
            raise SettingsError("`trips` and `watch` cannot be given together: choose one")

    def together(
        self,
        paths: Iterable[Path],
        exclude: Sequence[str],
        models: Sequence[Path],
        settings: TagSettings,
        display: Display,
        top: int,
    ) -> Together:
        """Return what changes findings by each other, and reports it.

        Args:
            paths: Photos and folders; the metadata of all photos in them are read.
            exclude: Glob patterns to skip.
            models: Model folders.
            settings: How to tag.
            display: Reports the changes.
            top: Candidates per photo to keep of those that were compared.
        """
        if not self.trips:
            return lambda findings, _records: iter(findings)

        from landmarks.imaging.photos import walk_photos
        from landmarks.tagging.trips.positions import parse_span
        from landmarks.tagging.trips.together import TripTagger

        within: timedelta | None = parse_span(self.within or _WITHIN)
        photos = walk_photos(paths, exclude=exclude, on_skip=lambda _reported_later: None)
        tagger = TripTagger.of(photos, models, settings, within if settings.places else None)

        def changed(findings: Iterable[Finding], records: Records) -> Iterator[Finding]:
            for trip in tagger.tag(findings, records):
                _report(trip, display)
                yield from (_with_top(finding, top) for finding in trip.findings)

        return changed


def _with_top(finding: Finding, top: int) -> Finding:
    return replace(finding, photo=replace(finding.photo, candidates=finding.photo.candidates[:top]))


def _report(trip: Trip, display: Display) -> None:
    """Report what the photos of a trip change about each other; tags taken back are reported with their photos."""
    for error in trip.clock_errors:
        display.note(str(error))
    if trip.doubtful:
        display.note(
            f"{trip.doubtful} photos with sure landmarks or positions contradict each other in time, so they "
            "change nothing: their clocks may be wrong"
        )
    notes, verbose = display.summary.notes, display.summary.verbosity.verbose
    found = {finding.photo.path for finding in trip.findings}
    for photo, change in trip.changes.items():
        raised = change.kind == "raised"
        if photo not in found and not raised:  # what an earlier run wrote stays
            display.note(
                f"{photo}: {change.guess.name} stays as it was written, but {change.reason}: to take it back, "
                "undo this photo and tag it again with --trips"
            )
        if photo not in found:
            continue
        notes["tagged by the trip" if raised else "taken back by the trip"] += 1
        if raised and verbose:
            display.note(f"{photo}: {change.guess.name}: {change.reason}")
    if trip.estimated:
        notes["with an estimated position"] += trip.estimated
    if trip.clock_errors:
        notes["clocks corrected"] += len(trip.clock_errors)
