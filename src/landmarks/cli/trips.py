"""`landmarks tag --trips`: estimates the positions of a folder's photos and adds them to the findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from landmarks.cli.declare import Option
from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from landmarks.tagging.settings import TagSettings
    from landmarks.tagging.tagger import Finding

_WITHIN = "30min"

Guess = Callable[["Finding"], "Finding"]
"""Adds estimated tags to a finding."""


@dataclass(frozen=True)
class Trips:
    """Whether and how positions are estimated.

    Attributes:
        trips: With --places: estimate the town of photos without a position from those taken before and after.
        within: With --trips: longest time to the photos before and after, such as 30min or 2h.
    """

    trips: bool = False
    within: Annotated[str | None, Option(default=_WITHIN)] = None

    def __post_init__(self) -> None:
        if self.within is not None and not self.trips:
            raise SettingsError("`within` is about `trips`: give `trips` too")

    @property
    def key(self) -> str:
        """What distinguishes photos tagged with these estimates, for the ledger; empty without any."""
        return f"-trips={self.within or _WITHIN}" if self.trips else ""

    def check(self, *, places: bool, watch: bool) -> None:
        """Refuse estimates without places, or while photos still arrive."""
        if self.trips and not places:
            raise SettingsError("`trips` is about places: give `places` too")
        if self.trips and watch:
            raise SettingsError("`trips` and `watch` cannot be given together: choose one")

    def guess(
        self, paths: Iterable[Path], exclude: Sequence[str], models: Sequence[Path], settings: TagSettings
    ) -> Guess:
        """Return what adds estimated tags to a finding.

        Args:
            paths: Photos and folders; the metadata of all photos in them are read.
            exclude: Glob patterns to skip.
            models: Model folders.
            settings: How to tag.
        """
        if not self.trips:
            return lambda finding: finding

        from landmarks.imaging.photos import walk_photos
        from landmarks.metadata.reading import read_position, read_time
        from landmarks.tagging.tagger import gazetteer_of
        from landmarks.tagging.trips import Shot, estimate_positions, parse_span, with_estimate

        span = parse_span(self.within or _WITHIN)
        photos = walk_photos(paths, exclude=exclude, on_skip=lambda _reported_later: None)
        estimates = estimate_positions((Shot(one, read_time(one), read_position(one)) for one in photos), span)
        gazetteer = gazetteer_of(models, settings)
        return lambda finding: with_estimate(finding, estimates, gazetteer)
