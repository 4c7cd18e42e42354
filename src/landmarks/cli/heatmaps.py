"""`landmarks tag --explain --heatmap FOLDER`: one heat map per photo."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from landmarks.errors import ImageError, SettingsError
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.limits import ImageLimits
from landmarks.model.recognizer import Recognizer
from landmarks.tagging.heatmap import save_heatmap
from landmarks.tagging.tagger import Finding
from landmarks.tagging.workers import cores
from landmarks.tagging.writers import describe


class HeatmapFolder:
    """Writes a heat map for each finding.

    Args:
        folder: Output folder; created with the first heat map.
        photos: The photos to tag.
        model: Model folder.
        gazetteer: Provides the names.
        limits: Largest file and image to accept.

    Raises:
        ModelError: The model folder is damaged.
        SettingsError: The heat maps would be among the photos, or there is a file instead of the folder.
    """

    def __init__(
        self, folder: Path, photos: Iterable[Path], model: Path, gazetteer: Gazetteer, limits: ImageLimits
    ) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"`heatmap` {folder} is a file: name a folder")
        for photo in photos:
            whole = os.path.isdir(photo)  # noqa: PTH112 - False if forbidden
            among = photo if whole else photo.parent
            place, there = folder.resolve(), among.resolve()
            if place == there or (whole and place.is_relative_to(there)):
                raise SettingsError(
                    f"`heatmap` {folder} is inside {among}, where the next run would take its images for photos: "
                    "choose a folder outside"
                )
        self._folder = folder
        self._recognizer = Recognizer(model, threads=cores(), limits=limits)
        self._gazetteer = gazetteer
        self._taken: set[str] = set()

    def add(self, finding: Finding) -> str | None:
        """Write the heat map of a photo, unless it is unreadable.

        Returns:
            The problem, as a sentence, or None.

        Raises:
            StorageError: The heat map cannot be written.
        """
        photo, explanation = finding.photo, finding.explanation
        if explanation is None or photo.error is not None:
            return None
        best = explanation.best
        name = self._gazetteer.display_name(best.class_name)
        said = describe(photo.tags[0]) if photo.tags else "nothing"
        title = f"{name} {best.probability:.1%}; tagged: {said}"
        path = self._folder / self._free_name(photo.path.name)
        try:
            save_heatmap(path, photo.path, self._recognizer, best.class_name, title)
        except ImageError as error:
            return f"{photo.path}: no heat map: {error.reason}"
        return None

    def _free_name(self, photo: str) -> str:
        """Return a name that no other photo of this run uses."""
        number, name = 1, f"{photo}-explained.png"
        while name in self._taken:
            number += 1
            name = f"{photo}-explained-{number}.png"
        self._taken.add(name)
        return name
