"""The images on which a converted network is compared with its source."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ImageError
from landmarks.imaging.photos import find_photos
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.importing.scores import made_pictures

PHOTOS = 4


def compared_inputs(preprocessing: Preprocessing, photos: Path | None) -> NDArray[np.uint8]:
    """Return made images and the first readable photos of a folder, (N, S, S, 3), N at least 4.

    Args:
        preprocessing: Preprocessing of the network.
        photos: Folder of photos, or None.
    """
    found = []
    for photo in islice(find_photos([photos]), 10 * PHOTOS) if photos is not None else ():
        try:
            found.append(prepare(photo, preprocessing))
        except ImageError:
            continue
        if len(found) == PHOTOS:
            break
    return np.stack([*made_pictures(preprocessing.crop), *found])
