"""How the thresholds of an export are chosen: on photos by kind, and what to expect on kinds never seen.

The photos that must get no tag come in groups: kinds of ordinary photos (bedrooms, beaches, ...), and landmarks
that the model must not claim. A library has kinds that are in no folder here, so nothing is measured on what it
was fitted on: the groups are split into folds, and each fold is judged by weights, background neighbours and
thresholds that come from the others. Fewer groups than folds are split by photo: then each kind is in every fold.
What is stored in the end is fitted on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, counted
from landmarks.model.calibration import Calibration, Outputs, choose_threshold, negatives_needed
from landmarks.model.combination import Combination, evidence_of, fit_weights
from landmarks.model.embedding_space import EmbeddingSpace, whitened_space
from landmarks.model.neighbours import Neighbours
from landmarks.model.ood import is_landmark
from landmarks.model.operating_points import (
    FOLDS,
    TIMES,
    ExpectedRate,
    ExpectedRates,
    OperatingPoint,
    Preference,
    same_groups,
)
from landmarks.model.probabilities import fit_temperature, softmax
from landmarks.training.metrics.evaluate import proportion

WORST = 3.0
"""No kind may pass at more than so many times the rate of all ordinary photos."""

PRIOR = 50
"""A kind's rate is drawn towards the mean of all kinds as by so many further photos: few photos tell little."""

MIN_CONFIDENCE = 0.5

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class OpenSetTargets:
    """Rates that `balanced` keeps, each in (0, 1).

    Attributes:
        ordinary: Share of ordinary photos that may get a tag; no kind more than `WORST` times of it.
        unknown: Share of photos of landmarks the model does not know that may get one: mean over these landmarks.
    """

    ordinary: float = 0.01
    unknown: float = 0.05


@dataclass(frozen=True, eq=False)
class OpenSetPhotos:
    """Predictions of the exported model for everything it is calibrated with.

    Attributes:
        train: Training photos of landmarks; only their embeddings are used.
        train_labels: Their classes.
        valid: Photos of landmarks that the model was not trained on.
        valid_labels: Their classes.
        ordinary: Photos without a landmark, by kind.
        unknown: Photos of landmarks that the model does not know, by landmark; may be empty.
        background: Photos without a landmark that the model was trained on; they are only compared with.
        compare_with_all: Whether the photos of the groups become neighbours of the background too, each where it
            is not itself judged.
    """

    train: Outputs
    train_labels: NDArray[np.integer[Any]]
    valid: Outputs
    valid_labels: NDArray[np.integer[Any]]
    ordinary: Mapping[str, Outputs]
    unknown: Mapping[str, Outputs] = field(default_factory=dict)
    background: Sequence[Outputs] = ()
    compare_with_all: bool = True


def calibrate_open_set(
    photos: OpenSetPhotos, classes: Sequence[str], targets: OpenSetTargets, *, seed: int = 0
) -> Calibration:
    """Fit temperature, weights and thresholds, and measure what to expect at each operating point.

    Args:
        photos: Outputs of the exported model itself.
        classes: Names of the classes, `background` among them or not.
        targets: Rates to keep.
        seed: Of the folds.

    Raises:
        DataError: There are too few photos for the rates.
    """
    known = is_landmark(classes)
    temperature = fit_temperature(photos.valid.logits, photos.valid_labels)
    space = whitened_space(photos.train.embeddings, photos.train_labels)
    judged = _Judged.of(photos, known, temperature, space, seed)
    thresholds = {name: _threshold(judged, targets, TIMES[name]) for name in TIMES}
    points = {}
    for name, threshold in thresholds.items():
        if threshold is not None:
            expected = _expected(judged, targets, TIMES[name])
            points[name] = OperatingPoint(threshold, MIN_CONFIDENCE, expected)
    if "balanced" not in points:
        choose_threshold(judged.pooled, targets.ordinary)  # reports what is missing
        raise DataError("there are too few photos for the rate asked for: give more")
    neighbours = _neighbours(photos, known, space, [*photos.ordinary.values(), *photos.unknown.values()])
    weights, bias = judged.fit(np.ones(len(judged.folds), dtype=bool))
    rates = _rates_by_group(judged, points["balanced"].threshold)
    return Calibration(
        temperature=temperature,
        score="combined",
        threshold=points["balanced"].threshold,
        target_fpr=targets.ordinary,
        min_confidence=MIN_CONFIDENCE,
        fitted_on={
            "validation": len(photos.valid_labels),
            "negatives": sum(len(one.logits) for one in photos.ordinary.values()),
            "unknown_landmarks": sum(len(one.logits) for one in photos.unknown.values()),
            "rates": rates,
        },
        operating_points=points,
        combination=Combination(weights, bias, neighbours),
    )


def missing_points(points: Mapping[Preference, OperatingPoint], target_fpr: float) -> Iterator[str]:
    """Yield what more photos without a landmark would bring, one sentence per operating point.

    Args:
        points: Operating points of a calibration.
        target_fpr: The rate that `balanced` keeps.
    """
    for name, times in TIMES.items():
        needed = negatives_needed(target_fpr * times)
        if name not in points:
            yield f"no operating point {name}: give at least {needed} photos without a landmark for it"
        elif points[name].expected.false_tags_ordinary is None:
            # Each fold is judged by a threshold of the others.
            needed = math.ceil(needed * FOLDS / (FOLDS - 1))
            yield f"rates of {name} are not measured: give at least {needed} photos without a landmark for that"


def few_unknown(fitted_on: Mapping[str, Any], unknown_tags: float) -> Iterator[str]:
    """Yield a sentence if a single photo of an unknown landmark may have chosen the thresholds.

    Args:
        fitted_on: As stored with a calibration.
        unknown_tags: The rate that `balanced` keeps of photos of unknown landmarks.
    """
    photos, needed = fitted_on.get("unknown_landmarks", 0), math.ceil(1 / unknown_tags)
    if photos and (photos < needed or same_groups(fitted_on, "landmark")):
        yield (
            f"{counted(photos, 'photo')} of unknown landmarks may hide nearly every tag, if one of them is of a "
            f"known one: give at least {needed} photos of {FOLDS} landmarks"
        )


@dataclass(frozen=True, eq=False)
class _Judged:
    """Evidence and scores of all photos, each from a fold that it had no part in.

    Attributes:
        evidence: (N, 5), with background neighbours of the other folds.
        right: (N,), whether the likeliest landmark is right.
        groups: (N,), -1 for known landmarks, else a position in `names`.
        folds: (N,), the fold of each.
        confidence: (N,), probability of the likeliest landmark.
        names: Kinds, then unknown landmarks.
        ordinary: How many of the names are kinds.
        scores: (N,), with weights of the other folds.
    """

    evidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    confidence: NDArray[np.float64]
    names: tuple[str, ...]
    ordinary: int
    scores: Scores

    @classmethod
    def of(
        cls,
        photos: OpenSetPhotos,
        known: NDArray[np.bool_],
        temperature: float,
        space: EmbeddingSpace,
        seed: int,
    ) -> _Judged:
        """Judge validation photos and negatives, each fold with what the other folds teach."""
        named = {f"kind {name}": part for name, part in photos.ordinary.items()}
        named |= {f"landmark {name}": part for name, part in photos.unknown.items()}
        rng = np.random.default_rng(seed)
        fold_of = _folds_of_groups(list(named.values()), len(photos.ordinary), rng)
        parts = [photos.valid, *named.values()]
        folds = np.concatenate([_shuffled_folds(len(photos.valid_labels), rng), *fold_of])
        groups = np.repeat(np.arange(-1, len(named)), [len(part.logits) for part in parts])
        logits = np.concatenate([part.logits for part in parts]) / temperature
        embeddings = np.concatenate([part.embeddings for part in parts])
        evidence = np.empty((len(groups), 5))
        for fold in range(FOLDS):
            here = folds == fold
            others = (groups >= 0) & ~here
            bank = _neighbours(photos, known, space, [Outputs(logits[others], embeddings[others])])
            evidence[here] = evidence_of(logits[here], embeddings[here], known, bank)
        likeliest, confidence = _likeliest(logits, known)
        truth = np.concatenate([photos.valid_labels, np.full(len(groups) - len(photos.valid_labels), -1)])
        drawn = cls(
            evidence,
            likeliest == truth,
            groups,
            folds,
            confidence,
            tuple(named),
            len(photos.ordinary),
            np.empty(len(groups)),
        )
        for fold in range(FOLDS):
            weights, bias = drawn.fit(folds != fold)
            drawn.scores[folds == fold] = evidence[folds == fold] @ np.array(weights) + bias
        return drawn

    def fit(self, chosen: NDArray[np.bool_]) -> tuple[tuple[float, ...], float]:
        """Fit the weights on some of the photos: known landmarks, kinds and unknown landmarks count alike."""
        shares = np.zeros(len(self.groups))
        sorts = [self.groups < 0, self.is_ordinary, self.is_unknown]
        for members in sorts:
            here = members & chosen
            shares[here] = 1 / max(1, int(here.sum()))
        return fit_weights(self.evidence[chosen], self.right[chosen], shares[chosen])

    @property
    def is_ordinary(self) -> NDArray[np.bool_]:
        return (self.groups >= 0) & (self.groups < self.ordinary)

    @property
    def is_unknown(self) -> NDArray[np.bool_]:
        return self.groups >= self.ordinary

    @property
    def pooled(self) -> Scores:
        """Scores of all ordinary photos."""
        return self.scores[self.is_ordinary]


def _likeliest(
    logits: NDArray[np.floating[Any]], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the likeliest landmark of each photo, (N,), and its probability; in blocks, for very many classes."""
    landmarks, rows = np.flatnonzero(known), max(1, 10_000_000 // len(known))
    found = []
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows]
        found.append((landmarks[block[:, known].argmax(axis=1)], softmax(block)[:, known].max(axis=1)))
    classes, confidences = zip(*found, strict=True)
    return np.concatenate(classes), np.concatenate(confidences)


def _neighbours(
    photos: OpenSetPhotos, known: NDArray[np.bool_], space: EmbeddingSpace, others: Sequence[Outputs]
) -> Neighbours:
    parts = (*photos.background, *others) if photos.compare_with_all else photos.background
    far = [part.embeddings for part in parts if len(part.embeddings)]
    background = np.concatenate(far) if far else np.empty((0, photos.train.embeddings.shape[1]), np.float32)
    numbers = np.cumsum(known) - 1  # a class among the landmarks
    return Neighbours.fit(
        photos.train.embeddings,
        numbers[photos.train_labels],
        background,
        classes=int(known.sum()),
        space=space,
    )


def _folds_of_groups(parts: Sequence[Outputs], ordinary: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Whole kinds and whole landmarks go to one fold; where there are fewer of them than folds, photos do."""
    found = []
    for group in (parts[:ordinary], parts[ordinary:]):
        if len(group) >= FOLDS:
            order = rng.permutation(len(group))
            found += [np.full(len(part.logits), order[i] % FOLDS) for i, part in enumerate(group)]
        else:
            found += [_shuffled_folds(len(part.logits), rng) for part in group]
    return found


def _shuffled_folds(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(np.arange(count) % FOLDS)


def _threshold(
    judged: _Judged, targets: OpenSetTargets, times: float, chosen: NDArray[np.bool_] | None = None
) -> float | None:
    """Return the lowest threshold that keeps the rates on some photos, or None where they are too few to tell."""
    here = np.ones(len(judged.groups), dtype=bool) if chosen is None else chosen
    ordinary = judged.scores[judged.is_ordinary & here]
    try:
        least = choose_threshold(ordinary, min(0.5, targets.ordinary * times))
    except DataError:
        return None
    kinds = [judged.scores[(judged.groups == i) & here] for i in range(judged.ordinary)]
    limit = WORST * targets.ordinary * times
    least = max(least, lowest_where(ordinary, lambda t: worst_rate(kinds, t) <= limit))
    landmarks = [judged.scores[(judged.groups == i) & here] for i in range(judged.ordinary, len(judged.names))]
    landmarks = [scores for scores in landmarks if len(scores)]
    if landmarks:
        values = np.concatenate(landmarks)
        allowed = targets.unknown * times
        least = max(least, lowest_where(values, lambda t: _mean_rate(landmarks, t) <= allowed))
    return least


def lowest_where(scores: Scores, holds: Callable[[float], bool]) -> float:
    """Return the lowest threshold just above one of the scores at which a falling rate is low enough."""
    rising = np.unique(scores)
    low, high = 0, len(rising) - 1
    while low < high:  # at the highest nothing passes
        middle = (low + high) // 2
        if holds(float(np.nextafter(rising[middle], np.inf))):
            high = middle
        else:
            low = middle + 1
    return float(np.nextafter(rising[low], np.inf))


def worst_rate(kinds: Sequence[Scores], threshold: float) -> float:
    """Return the highest rate of a kind, each drawn towards the mean of all as by `PRIOR` photos."""
    passed = np.array([float((scores >= threshold).sum()) for scores in kinds])
    counts = np.array([len(scores) for scores in kinds])
    mean = passed.sum() / max(1, counts.sum())
    return float(((passed + PRIOR * mean) / (counts + PRIOR)).max())


def _mean_rate(groups: Sequence[Scores], threshold: float) -> float:
    return float(np.mean([(scores >= threshold).mean() for scores in groups]))


def _expected(judged: _Judged, targets: OpenSetTargets, times: float) -> ExpectedRates:
    """Measure each fold at the threshold that the other folds choose."""
    passed = np.zeros(len(judged.groups), dtype=bool)
    measured = np.zeros(len(judged.groups), dtype=bool)
    for fold in range(FOLDS):
        here = judged.folds == fold
        threshold = _threshold(judged, targets, times, ~here)
        if threshold is not None:
            passed[here] = (judged.scores[here] >= threshold) & (judged.confidence[here] >= MIN_CONFIDENCE)
            measured[here] = True
    of_known = (judged.groups < 0) & measured
    return ExpectedRates(
        tagged_rightly=_expected_rate(passed & judged.right, of_known),
        tagged_wrongly=_expected_rate(passed & ~judged.right, of_known),
        false_tags_ordinary=_expected_rate(passed, judged.is_ordinary & measured),
        false_tags_unknown=_expected_rate(passed, judged.is_unknown & measured),
    )


def _expected_rate(passed: NDArray[np.bool_], among: NDArray[np.bool_]) -> ExpectedRate | None:
    if not among.any():
        return None
    found = proportion(int((passed & among).sum()), int(among.sum()))
    return ExpectedRate(found.value, found.low, found.high, found.count)


def _rates_by_group(judged: _Judged, threshold: float) -> dict[str, dict[str, float | int]]:
    """Return the rate of each kind and unknown landmark at a threshold, with its interval."""
    passed = (judged.scores >= threshold) & (judged.confidence >= MIN_CONFIDENCE)
    found = {}
    for i, name in enumerate(judged.names):
        one = _expected_rate(passed, judged.groups == i)
        if one is not None:
            found[name] = {"value": one.value, "low": one.low, "high": one.high, "count": one.count}
    return found
