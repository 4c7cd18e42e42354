"""A bundled table of negatives, as embeddings, for users who have no negatives of their own.

The table has embeddings by the pretrained EfficientNet-Lite0 of several hundred ordinary photos, by kind, and of
photos of landmarks around the world, by landmark. The photos are not included and cannot be reconstructed. The
head of a model with this backbone can be applied to them. A fine-tuned backbone, or one from scratch, has other
embeddings, so there is no table for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.files.atomic import atomic_path
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import Outputs
from landmarks.model.vectors import DAMAGED
from landmarks.training.config.settings import ModelSettings
from landmarks.training.models.transfer import TransferModel

BACKBONE = "efficientnet_lite0"
_LEAST_CROP = 192  # pixels
TABLE_FILE = "background_efficientnet_lite0.npz"


@dataclass(frozen=True, eq=False)
class TableGroups:
    """Outputs of a model by group.

    Attributes:
        ordinary: For ordinary photos, by kind.
        unknown: For photos of unknown landmarks, by landmark.
    """

    ordinary: Mapping[str, Outputs]
    unknown: Mapping[str, Outputs]


@dataclass(frozen=True, eq=False)
class BackgroundTable:
    """Embeddings of unit length by group.

    Attributes:
        embeddings: (N, D).
        groups: (N,), the group of each, an index into `names`.
        names: `kind/NAME` or `landmark/NAME`.
    """

    embeddings: NDArray[np.float32]
    groups: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def ordinary(self) -> int:
        """Number of photos without a landmark."""
        return sum(self.names[group].startswith("kind/") for group in self.groups)

    @classmethod
    def bundled(cls) -> BackgroundTable:
        """Read the bundled table."""
        return cls.load(Path(str(resources.files("landmarks.training.export"))) / TABLE_FILE)

    @classmethod
    def load(cls, path: Path) -> BackgroundTable:
        """Read a file written by `save`.

        Raises:
            ModelError: The file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                scaled = stored["embeddings"].astype(np.float32)
                groups, names = stored["groups"].astype(np.int64), tuple(map(str, stored["names"]))
            lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
            if scaled.shape[0] != groups.shape[0] or (lengths == 0).any() or groups.max() >= len(names):
                raise ValueError("the values do not fit")
        except DAMAGED as error:
            raise ModelError(f"{path}: damaged ({error}): install landmarks again") from error
        return cls(scaled / lengths, groups, names)

    def save(self, path: Path) -> None:
        """Write the file, a byte for each value; raises `StorageError` when it cannot be written."""
        largest = np.abs(self.embeddings).max(axis=1, keepdims=True)
        values = np.rint(self.embeddings / largest * 127).astype(np.int8)
        names = np.array(self.names)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, embeddings=values, groups=self.groups.astype(np.int32), names=names)

    def without(self, classes: Sequence[str]) -> BackgroundTable:
        """Return the table without the landmarks that a model knows, by name or by place."""
        key_of = Gazetteer.bundled().key_of
        taken = {f"landmark/{key_of(name)}" for name in classes}
        kept = [
            f"{sort}/{key_of(name)}" not in taken for sort, _, name in (one.partition("/") for one in self.names)
        ]
        return BackgroundTable(
            self.embeddings[np.array(kept)[self.groups]], self.groups[np.array(kept)[self.groups]], self.names
        )

    def seen_by(self, model: TransferModel) -> TableGroups:
        """Return the outputs of a model with the pretrained backbone for the photos of the table."""
        with torch.no_grad():
            logits = model.head(torch.from_numpy(self.embeddings)).numpy()
        found: dict[str, dict[str, Outputs]] = {"kind": {}, "landmark": {}}
        for i, name in enumerate(self.names):
            here = self.groups == i
            if here.any():
                sort, _, plain = name.partition("/")
                found[sort][plain] = Outputs(logits[here], self.embeddings[here])
        return TableGroups(found["kind"], found["landmark"])


def table_fits(settings: ModelSettings) -> bool:
    """Return whether a run has the unchanged pretrained backbone that the table was made with, and large crops.

    What the backbone says of much smaller images is another: where the table promised 1 %, crops of 192 to 256
    pixels gave 0 to 0.2 % of ordinary photos a tag, of 96 pixels 15 %, of 64 pixels 32 %.
    """
    kept = settings.kind == "transfer" and settings.backbone == BACKBONE and settings.crop >= _LEAST_CROP
    return kept and not settings.unfreeze and settings.weights is None and settings.init is None
