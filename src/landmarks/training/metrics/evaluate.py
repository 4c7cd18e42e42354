"""From predictions to metrics: accuracy with intervals, scores by class, calibration, worst mistakes.

Everything here is a pure function of the probabilities and the labels, so a metric can be checked by hand and
a run can be evaluated again without the network. `write_evaluation` writes the metrics to disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.files.atomic import write_json
from landmarks.files.csv_lines import write_csv
from landmarks.training.metrics.confusion import Confusion
from landmarks.training.metrics.outcomes import Outcomes, Predictions, require_fit

CALIBRATION_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. 2017."""

MOST_CONFUSED = 10
"""Pairs of classes that an evaluation lists."""

WORST_MISTAKES = 24
"""Mistakes that an evaluation lists."""

TABLE_CLASSES = 300
"""Up to so many classes `confusion_<split>.csv` is the whole matrix, above it lists the pairs that occur."""

Z95 = NormalDist().inv_cdf(0.975)
"""Standard deviations on each side of a 95 % interval."""

_SMALLEST = float(np.finfo(np.float32).eps)  # a probability below is float32 noise; log(0) would be infinite


@dataclass(frozen=True)
class Proportion:
    """A fraction of `count` images, with its 95 % interval; all three in [0, 1]."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in [0, 1]; a score whose divisor is zero is 0. `support` counts its images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class MacroScores:
    """Unweighted means over the classes with images, so that small classes count as much as large ones."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ConfusedPair:
    """`count` images of `true`, a `share` of all its images, were predicted as `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Images with a confidence in (low, high]; confidence and accuracy are None in an empty bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """How well confidence matches accuracy.

    Attributes:
        error: Expected calibration error in [0, 1].
        confidence: Mean probability of the predicted class.
        bins: `CALIBRATION_BINS` bins from 0 to 1.
    """

    error: float
    confidence: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class SourceAccuracy:
    """Top-1 accuracy on the images of one source."""

    source: str
    accuracy: Proportion


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, with the probability of the predicted class."""

    path: Path
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one split.

    Attributes:
        count: Number of images.
        loss: Mean cross-entropy in nats.
        top1: Fraction of images whose most probable class is correct.
        top5: Fraction of images whose true class is among the five most probable.
        macro: Mean scores over the classes with images.
        classes: Scores of each class, in the order of the network.
        confusion: How often which class was predicted for which.
        confused_pairs: The most frequent confusions, most frequent first.
        calibration: Expected calibration error and reliability bins.
        sources: Accuracy by source, largest source first; empty if no source is known.
        mistakes: Wrong predictions with the highest probability, worst first.
        predictions: The prediction for each image, in the order given.
    """

    count: int
    loss: float
    top1: Proportion
    top5: Proportion
    macro: MacroScores
    classes: tuple[ClassScores, ...]
    confusion: Confusion
    confused_pairs: tuple[ConfusedPair, ...]
    calibration: Reliability
    sources: tuple[SourceAccuracy, ...]
    mistakes: tuple[Prediction, ...]
    predictions: tuple[Prediction, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network."""
        return tuple(scores.name for scores in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as plain values for JSON.

        The confusion matrix and the single predictions are left out: they are tables and go to CSV files.
        """
        metrics = asdict(replace(self, predictions=()))
        del metrics["confusion"], metrics["predictions"]
        for mistake in metrics["mistakes"]:
            mistake["path"] = mistake["path"].as_posix()
        return {key: _writable(value) for key, value in metrics.items()}


def evaluate(predictions: Predictions) -> Evaluation:
    """Compute all metrics of a set of predictions.

    If two classes are equally probable, the one with the lower index counts.
    """
    given = predictions
    return evaluate_outcomes(given.outcomes, given.class_names, given.paths, given.sources)


def evaluate_outcomes(
    outcomes: Outcomes,
    class_names: tuple[str, ...],
    paths: Sequence[Path],
    sources: Sequence[str] | None = None,
) -> Evaluation:
    """Compute all metrics of N images without their probabilities: memory is linear in images and classes.

    Args:
        outcomes: The predictions, compared with the true classes.
        class_names: K different names.
        paths: N image files.
        sources: N names of sources, or None without a manifest.

    Raises:
        DataError: Names, paths and sources do not fit the outcomes.
    """
    count, right = len(outcomes.labels), outcomes.right
    require_fit(count, class_names, paths, sources)
    confusion = Confusion.of(outcomes.labels, outcomes.predicted, len(class_names))
    classes, macro = _class_scores(confusion, class_names)
    columns = (outcomes.labels.tolist(), outcomes.predicted.tolist(), outcomes.confidence.tolist())
    each = tuple(
        Prediction(path, class_names[label], class_names[guess], probability)
        for path, label, guess, probability in zip(paths, *columns, strict=True)
    )
    wrong = (one for one in each if one.true != one.predicted)
    return Evaluation(
        count=count,
        loss=_cross_entropy(outcomes.of_truth),
        top1=proportion(int(right.sum()), count),
        top5=proportion(int((outcomes.ranks < 5).sum()), count),
        macro=macro,
        classes=classes,
        confusion=confusion,
        confused_pairs=_confused_pairs(confusion, class_names),
        calibration=reliability(outcomes.confidence, right),
        sources=() if sources is None else _by_source(sources, right),
        mistakes=tuple(sorted(wrong, key=lambda one: -one.probability)[:WORST_MISTAKES]),
        predictions=each,
    )


def proportion(successes: int, count: int) -> Proportion:
    """Return `successes / count` with its 95 % Wilson score interval.

    Unlike the normal approximation the interval stays in [0, 1] and holds near its ends. Source: E. B. Wilson,
    "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); recommended by
    Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001).

    Args:
        successes: From 0 to `count`.
        count: At least 1.
    """
    share = successes / count
    shrink = 1 / (1 + Z95**2 / count)
    centre = shrink * (share + Z95**2 / (2 * count))
    half = shrink * Z95 * (share * (1 - share) / count + Z95**2 / (4 * count**2)) ** 0.5
    # At 0 and 1 one end of the interval is the fraction itself; rounding must not push it past.
    return Proportion(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), count)


def write_evaluation(evaluation: Evaluation, folder: Path, split: str) -> None:
    """Write the metrics of one split, each file atomically.

    Files: `metrics_<split>.json`; `confusion_<split>.csv` (first column the true class, then one column per
    predicted class; above `TABLE_CLASSES` classes one row per pair that occurs: true, predicted, images);
    `per_class_<split>.csv`; `predictions_<split>.csv`.

    Args:
        evaluation: The metrics.
        folder: Output folder; created if missing.
        split: Name of the split, for the file names.

    Raises:
        StorageError: A file cannot be written.
    """
    write_json(folder / f"metrics_{split}.json", evaluation.to_dict())
    write_csv(folder / f"confusion_{split}.csv", *_confusion_rows(evaluation))
    write_csv(
        folder / f"per_class_{split}.csv",
        ["class", "precision", "recall", "f1", "support"],
        (
            [one.name, round(one.precision, 6), round(one.recall, 6), round(one.f1, 6), one.support]
            for one in evaluation.classes
        ),
    )
    write_csv(
        folder / f"predictions_{split}.csv",
        ["path", "true", "predicted", "probability"],
        (
            [one.path.as_posix(), one.true, one.predicted, round(one.probability, 6)]
            for one in evaluation.predictions
        ),
    )


def _confusion_rows(evaluation: Evaluation) -> tuple[Sequence[object], Iterable[Sequence[object]]]:
    """Return header and rows of the table of confusions."""
    names, confusion = evaluation.class_names, evaluation.confusion
    if len(names) <= TABLE_CLASSES:
        table = confusion.table().tolist()
        return ["true", *names], ([name, *counts] for name, counts in zip(names, table, strict=True))
    columns = zip(confusion.true.tolist(), confusion.predicted.tolist(), confusion.counts.tolist(), strict=True)
    return ["true", "predicted", "images"], ([names[true], names[guess], count] for true, guess, count in columns)


def _cross_entropy(of_truth: NDArray[np.float64]) -> float:
    return float(-np.log(of_truth.clip(_SMALLEST, 1.0)).mean()) + 0.0  # + 0.0 turns -0.0 into 0.0


def _class_scores(confusion: Confusion, names: Sequence[str]) -> tuple[tuple[ClassScores, ...], MacroScores]:
    hits, support, claimed = confusion.hits, confusion.support, confusion.claimed
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + claimed, 1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
    scores = tuple(ClassScores(*row) for row in zip(names, *columns, strict=True))
    held = support > 0
    macro = MacroScores(float(precision[held].mean()), float(recall[held].mean()), float(f1[held].mean()))
    return scores, macro


def _confused_pairs(confusion: Confusion, names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    support = confusion.support.tolist()
    pairs = (
        ConfusedPair(names[true], names[predicted], count, count / support[true])
        for true, predicted, count in confusion.mistakes()
    )
    return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[:MOST_CONFUSED])


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Return the expected calibration error and its bins.

    Args:
        confidence: (N,), probability of each prediction, 0 to 1.
        right: (N,), whether it is correct.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017,
    https://arxiv.org/abs/1706.04599.
    """
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    places = np.searchsorted(edges, confidence, side="left") - 1  # bins are open below and closed above
    error, bins = 0.0, []
    for index in range(CALIBRATION_BINS):
        inside = places == index
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        bins.append(ReliabilityBin(float(edges[index]), float(edges[index + 1]), count, mean, accuracy))
        if mean is not None and accuracy is not None:
            error += count / len(confidence) * abs(accuracy - mean)
    return Reliability(error, float(confidence.mean()), tuple(bins))


def _by_source(sources: Sequence[str], right: NDArray[np.bool_]) -> tuple[SourceAccuracy, ...]:
    names, places = np.unique(np.asarray(sources, dtype=object), return_inverse=True)
    counts = np.bincount(places).tolist()
    hits = np.bincount(places, weights=right).astype(int).tolist()
    rows = [
        SourceAccuracy(name, proportion(hit, count)) for name, hit, count in zip(names, hits, counts, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.accuracy.count, row.source)))


def _writable(value: Any) -> Any:
    r"""Escape undecodable bytes of a file name, which UTF-8 cannot represent, as in `caf\udce9.jpg`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value
