"""Shortcuts: can the class be predicted from the file alone, without looking at the image?

If the images of a class come from one source, their size, shape and compression give the class away, and a network
may learn the source instead of the landmark (Geirhos et al., "Shortcut learning in deep neural networks",
2020, https://arxiv.org/abs/2004.07780). A small decision tree on such clues, cross-validated, shows how far that
goes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from landmarks.training.doctor.folds import split_folds
from landmarks.training.doctor.pictures import Measured, Picture
from landmarks.training.metrics.evaluate import Proportion, proportion

CLUES = ("size", "aspect", "bytes per pixel", "JPEG quality")
"""Properties of a file that are known without its pixels."""

_SMALLEST_LEAF = 3


@dataclass(frozen=True)
class Clue:
    """Accuracy of a tree that predicts the class from one clue, or from all, on held-out images."""

    name: str
    accuracy: Proportion


@dataclass(frozen=True)
class Shortcuts:
    """How well the files alone predict the class.

    Attributes:
        baseline: Fraction of the most common class, the accuracy of always predicting it.
        together: All clues at once.
        clues: Each clue alone, best first.
        one_source: Classes whose images all come from one source, by source; empty unless a manifest names
            several.
    """

    baseline: float
    together: Clue
    clues: tuple[Clue, ...]
    one_source: dict[str, tuple[str, ...]]

    @property
    def found(self) -> bool:
        """Whether the clues are clearly better than the baseline: by 10 points and significantly."""
        return self.together.accuracy.low > self.baseline and self.together.accuracy.value > self.baseline + 0.1

    @property
    def meaning(self) -> str:
        """The result in words."""
        accuracy = self.together.accuracy
        measured = (
            f"From size, aspect and compression alone, without the picture, a small decision tree names the class "
            f"of {accuracy.value:.1%} of the pictures rightly ({accuracy.low:.1%} to {accuracy.high:.1%}); always "
            f"naming the most common class gives {self.baseline:.1%}."
        )
        if not self.found:
            return f"{measured} The files give little or nothing away."
        best = self.clues[0]
        return (
            f"{measured} The strongest clue is {best.name} ({best.accuracy.value:.1%}). A network that sees the "
            "pictures resized and cropped cannot read these numbers, but what goes with them (sharpness, blocks, "
            "how the picture was cut) it can: part of its accuracy, also on test pictures of the same sources, "
            "may come from the source. Test it on pictures of other sources before you trust it."
        )


def find_shortcuts(measured: Measured, *, seed: int) -> Shortcuts | None:
    """Measure how well the files alone predict the class.

    Args:
        measured: The readable images; near-duplicates are kept in one fold.
        seed: Seed of the folds and the trees.

    Returns:
        The result, or None if there are too few images to cross-validate.
    """
    labels, pictures = measured.labels, measured.pictures
    folds = list(split_folds(labels, measured.groups, seed=seed))
    if not folds:
        return None
    columns = _columns(pictures)

    def measure(name: str, table: NDArray[np.float64]) -> Clue:
        hits = 0
        for known, asked in folds:
            tree = DecisionTreeClassifier(min_samples_leaf=_SMALLEST_LEAF, random_state=seed)
            hits += int((tree.fit(table[known], labels[known]).predict(table[asked]) == labels[asked]).sum())
        return Clue(name, proportion(hits, sum(len(asked) for _, asked in folds)))

    clues = sorted((measure(name, columns[name]) for name in CLUES), key=lambda clue: -clue.accuracy.value)
    together = measure("all together", np.concatenate([columns[name] for name in CLUES], axis=1))
    baseline = float(np.bincount(labels).max() / len(labels))
    return Shortcuts(baseline, together, tuple(clues), _classes_of_one_source(pictures, measured.classes))


def _columns(pictures: Sequence[Picture]) -> dict[str, NDArray[np.float64]]:
    """Return the values of each clue, (N, 1) or (N, 2)."""
    width, height, size, quality = np.array(
        [(max(1, p.width), max(1, p.height), p.size, p.quality) for p in pictures], dtype=np.float64
    ).T
    return {
        "size": np.stack([width, height], axis=1),
        "aspect": (width / height)[:, None],
        "bytes per pixel": (size / (width * height))[:, None],
        "JPEG quality": quality[:, None],
    }


def _classes_of_one_source(pictures: Sequence[Picture], classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    sources: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        sources[picture.label][picture.source] += 1
    if len({source for counted in sources.values() for source in counted}) < 2:
        return {}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for label, counted in sorted(sources.items()):
        if len(counted) == 1:
            found[next(iter(counted))].append(classes[label])
    return {source: tuple(names) for source, names in sorted(found.items())}
