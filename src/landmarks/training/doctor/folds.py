"""Cross-validation folds that keep near-duplicates together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 5


def split_folds(
    labels: NDArray[np.int64], groups: Sequence[Sequence[int]], *, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (training positions, held-out positions), stratified by class, each position held out once.

    Near-duplicates stay on one side: a copy would vouch for the label it shares.

    Args:
        labels: (N,) classes.
        groups: Positions of near-duplicates.
        seed: Seed of the folds.

    Yields:
        `FOLDS` folds, or fewer if there are fewer images; none if there are too few for two.
    """
    group_of = np.arange(len(labels))
    for members in groups:
        group_of[list(members)] = members[0]
    folds = min(FOLDS, int(np.bincount(labels).max(initial=0)), len(np.unique(group_of)))
    if folds < 2:
        return
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer images than folds is unavoidably missing from some of them.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        parts = list(splitter.split(np.zeros(len(labels)), labels, group_of))
    yield from ((known, asked) for known, asked in parts if len(known) and len(asked))
