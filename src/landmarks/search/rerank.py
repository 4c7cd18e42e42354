"""Re-ranks search results by matching local features.

A vector measures how similar two photos are as a whole; local features show whether the same details match. SIFT
features (Lowe, IJCV 2004) of two photos, as RootSIFT (Arandjelovic and Zisserman, CVPR 2012), are matched with the
ratio test, and the inliers of one homography are counted (MAGSAC++: Barath, Noskova, Ivashechkin and Matas, CVPR
2020). Philbin, Chum, Isard, Sivic and Zisserman (CVPR 2007) re-rank search results by such inliers.
benchmarks/results/retrieval.md has the gain and the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.errors import ImageError
from landmarks.imaging.decoding import DEFAULT_LIMITS, ImageLimits, load_image
from landmarks.search.searcher import Match

SIDE = 512
"""Longest side, in pixels, of the photos from which features are extracted."""

FEATURES = 1000
"""Number of features per photo, the strongest."""

LEAST, ENOUGH = 12, 60
"""Number of inliers from which two photos may match, and from which more make no difference."""

BONUS = 0.5
"""Amount that `ENOUGH` inliers add to a score."""

_RATIO = 0.8  # maximum ratio of the distances to the nearest and the second nearest feature
_PIXELS = 4.0  # maximum reprojection error of an inlier


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """The features of a photo.

    Attributes:
        points: (n, 2), x and y in pixels.
        descriptors: (n, 128) RootSIFT.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]


def local_features(source: Path | bytes, limits: ImageLimits = DEFAULT_LIMITS) -> LocalFeatures:
    """Extract the features of a photo within limits, given as a file or its content.

    Raises:
        ImageError: It cannot be read.
    """
    image = load_image(source, min_side=SIDE, limits=limits).convert("L")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    keypoints, found = cv2.SIFT.create(nfeatures=FEATURES).detectAndCompute(np.asarray(image), None)
    if found is None or len(keypoints) == 0:
        return LocalFeatures(np.empty((0, 2), dtype=np.float32), np.empty((0, 128), dtype=np.float32))
    descriptors = np.asarray(found, dtype=np.float32)
    descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
    return LocalFeatures(np.array([point.pt for point in keypoints], dtype=np.float32), descriptors)


def count_inliers(one: LocalFeatures, other: LocalFeatures) -> int:
    """Count the matching features of two photos that fit one homography."""
    if min(len(one.points), len(other.points)) < LEAST:
        return 0
    pairs: Any = cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptors, other.descriptors, k=2)
    good = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(good) < LEAST:
        return 0
    here = one.points[[match.queryIdx for match in good]]
    there = other.points[[match.trainIdx for match in good]]
    homography, inside = cv2.findHomography(here, there, cv2.USAC_MAGSAC, _PIXELS)
    return 0 if homography is None or inside is None else int(np.count_nonzero(inside))


def raised(score: float, inliers: int) -> float:
    """Return a score raised by the number of inliers."""
    return score if inliers < LEAST else score + BONUS * min(inliers, ENOUGH) / ENOUGH


def rerank(picture: Path | bytes, matches: Sequence[Match], limits: ImageLimits = DEFAULT_LIMITS) -> list[Match]:
    """Re-rank matches by score and inliers together.

    A match whose photo is unreadable or missing is ranked by its score alone.

    Args:
        picture: The query photo, a file or its content.
        matches: The search results.
        limits: Largest file and image to accept.

    Returns:
        The same matches, best first, with their inliers.

    Raises:
        ImageError: The query photo cannot be read.
    """
    asked = local_features(picture, limits)
    counted = []
    for match in matches:
        try:
            counted.append(replace(match, inliers=count_inliers(asked, local_features(match.path, limits))))
        except ImageError:
            counted.append(match)
    return sorted(counted, key=lambda match: -raised(match.score, match.inliers or 0))
