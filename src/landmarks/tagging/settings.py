"""Settings of tagging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from landmarks.errors import SettingsError, require_at_least, require_choice
from landmarks.files.paths import take_paths
from landmarks.geo import Language
from landmarks.imaging.limits import ImageLimits
from landmarks.model import EngineName
from landmarks.model.operating_points import Preference


@dataclass(frozen=True)
class TagSettings:
    """How to tag.

    Attributes:
        top: Candidates per photo, at least 1.
        prefer: Operating point of the model: precision for fewer wrong tags, recall for more tags.
        min_confidence: Minimum probability for a tag, between 0 and 1; by default the model's.
        use_position: Use the photo's GPS position.
        places: Also tag where photos with GPS were taken: the nearest landmark in sight, the town and country.
        near_km: A landmark within this distance of the camera becomes likelier; above 0.
        far_km: A place farther away than this contradicts the camera's position; more than `near_km`.
        own_places: Your own places, a CSV file with at least the columns key and name.
        language: Language of the names of landmarks and countries; cities keep their English names.
        engine: Inference engine; openvino is faster for many photos.
        max_megapixels: Largest photo to decode, in megapixels, above 0; a JPEG counts at the reduced size of its
            decoding.

    Raises:
        SettingsError: A value is out of range.
    """

    top: int = 5
    prefer: Preference = "balanced"
    min_confidence: float | None = None
    use_position: bool = True
    places: bool = False
    near_km: float = 10.0
    far_km: float = 50.0
    own_places: Path | None = None
    language: Language = "en"
    engine: EngineName = "onnxruntime"
    max_megapixels: float = 120.0

    def __post_init__(self) -> None:
        take_paths(self, "own_places")
        require_choice("prefer", self.prefer, get_args(Preference))
        require_choice("language", self.language, get_args(Language))
        require_choice("engine", self.engine, get_args(EngineName))
        require_at_least("top", self.top)
        if self.min_confidence is not None and not 0 < self.min_confidence < 1:
            raise SettingsError(f"`min_confidence` must be above 0 and below 1, not {self.min_confidence}")
        if not 0 < self.max_megapixels < math.inf:
            raise SettingsError(f"`max_megapixels` must be above 0 and finite, not {self.max_megapixels}")
        if self.places and not self.use_position:
            raise SettingsError("`places` is about the camera's position: leave `use_position` on")
        if not 0 < self.near_km < self.far_km:
            raise SettingsError(
                f"`near_km` must be above 0 and below `far_km`, not {self.near_km} and {self.far_km}"
            )

    @property
    def limits(self) -> ImageLimits:
        """Largest file and image to accept."""
        return ImageLimits.of_megapixels(self.max_megapixels)
