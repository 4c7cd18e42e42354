"""Photos that were found, put in order anew by what they share with the picture point by point.

A vector says how alike two photos are as a whole; local features say whether they show the same stones. SIFT
features (Lowe, IJCV 2004) of two photos, as RootSIFT (Arandjelovic and Zisserman, CVPR 2012), are matched by the
ratio test, and those count that one plane seen from two places explains: the inliers of a homography (MAGSAC++:
Barath, Noskova, Ivashechkin and Matas, CVPR 2020). Philbin, Chum, Isard, Sivic and Zisserman (CVPR 2007) put
search results in order by such inliers. benchmarks/results/retrieval.md shows what it brings, and costs.
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
from landmarks.imaging.decoding import load_image
from landmarks.search.searcher import Match

SIDE = 512
"""Longest side of the photos whose features are taken, in pixels."""

FEATURES = 1000
"""Features of a photo, the strongest."""

LEAST, ENOUGH = 12, 60
"""Inliers from which on two photos may show the same, and from which on more say nothing new."""

BONUS = 0.5
"""What `ENOUGH` inliers add to a score."""

_RATIO = 0.8  # of the distances to the nearest and the second nearest feature
_PIXELS = 4.0  # that a point may lie off where the homography puts it


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """The features of a photo.

    Attributes:
        points: (n, 2), x and y in pixels.
        descriptors: (n, 128) RootSIFT.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]


def local_features(source: Path | bytes) -> LocalFeatures:
    """Take the features of a photo or of the content of one.

    Raises:
        ImageError: It cannot be read.
    """
    image = load_image(source, min_side=SIDE).convert("L")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    keypoints, found = cv2.SIFT.create(nfeatures=FEATURES).detectAndCompute(np.asarray(image), None)
    if found is None or len(keypoints) == 0:
        return LocalFeatures(np.empty((0, 2), dtype=np.float32), np.empty((0, 128), dtype=np.float32))
    descriptors = np.asarray(found, dtype=np.float32)
    descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
    return LocalFeatures(np.array([point.pt for point in keypoints], dtype=np.float32), descriptors)


def count_inliers(one: LocalFeatures, other: LocalFeatures) -> int:
    """Count the features of two photos that belong together by one homography."""
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
    """Return a score with what inliers add to it."""
    return score if inliers < LEAST else score + BONUS * min(inliers, ENOUGH) / ENOUGH


def rerank(picture: Path | bytes, matches: Sequence[Match]) -> list[Match]:
    """Put matches in order by score and inliers together.

    A match whose photo cannot be read, or vanished, keeps its score alone.

    Args:
        picture: What was searched for, a file or the content of one.
        matches: What was found.

    Returns:
        The same matches, best first, with their inliers.

    Raises:
        ImageError: The picture cannot be read.
    """
    asked = local_features(picture)
    counted = []
    for match in matches:
        try:
            counted.append(replace(match, inliers=count_inliers(asked, local_features(match.path))))
        except ImageError:
            counted.append(match)
    return sorted(counted, key=lambda match: -raised(match.score, match.inliers or 0))
