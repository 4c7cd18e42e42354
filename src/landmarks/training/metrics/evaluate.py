"""From predictions to metrics: accuracy with intervals, scores by class, calibration, worst mistakes.

Everything here is a pure function of the probabilities and the labels, so a metric can be checked by hand and
a run can be evaluated again without the network. `write_evaluation` writes the metrics to disk.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.files.atomic import write_json, write_text

CALIBRATION_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. 2017."""

MOST_CONFUSED = 10
"""Pairs of classes that an evaluation lists."""

WORST_MISTAKES = 24
"""Mistakes that an evaluation lists."""

_Z95 = NormalDist().inv_cdf(0.975)
_SMALLEST = float(np.finfo(np.float32).eps)  # a probability below is float32 noise; log(0) would be infinite


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a network for N images of K classes, and the true classes.

    Attributes:
        probabilities: Shape (N, K), each row in [0, 1] with sum 1.
        labels: Shape (N,), the index of the right class, in [0, K).
        class_names: K different names, in the order of the columns.
        paths: N image files.
        sources: N names of sources, or None without a manifest.

    Raises:
        DataError: A shape, an index or a probability does not fit.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        count, classes = len(self.paths), len(self.class_names)
        if count == 0:
            raise DataError("no prediction to evaluate: check that the data folder holds pictures")
        if classes < 2 or len(set(self.class_names)) < classes:
            raise DataError(f"{classes} class names: at least two are needed and no two may be the same")
        if self.probabilities.shape != (count, classes) or self.labels.shape != (count,):
            raise DataError(
                f"probabilities of shape {self.probabilities.shape} and labels of shape {self.labels.shape} "
                f"do not fit {count} pictures and {classes} classes"
            )
        if self.sources is not None and len(self.sources) != count:
            raise DataError(f"{len(self.sources)} sources do not fit {count} pictures")
        if self.labels.dtype.kind not in "iu" or self.labels.min() < 0 or self.labels.max() >= classes:
            raise DataError(f"labels must be whole numbers from 0 to {classes - 1}")
        # The comparisons are false for NaN, so a diverged network is caught here too.
        in_range = (self.probabilities >= 0) & (self.probabilities <= 1 + 1e-3)
        sums = self.probabilities.sum(axis=1, dtype=np.float64)
        if not (in_range.all() and np.all(np.abs(sums - 1) <= 1e-2)):
            raise DataError("probabilities must lie in [0, 1] and each row must have the sum 1")


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
        confusion: K rows of K counts: row = true class, column = predicted class.
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
    confusion: tuple[tuple[int, ...], ...]
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
        metrics = asdict(self)
        del metrics["confusion"], metrics["predictions"]
        for mistake in metrics["mistakes"]:
            mistake["path"] = mistake["path"].as_posix()
        return {key: _writable(value) for key, value in metrics.items()}


def evaluate(predictions: Predictions) -> Evaluation:
    """Compute all metrics of a set of predictions.

    If two classes are equally probable, the one with the lower index counts.
    """
    labels = predictions.labels.astype(np.int64)
    probabilities = predictions.probabilities.astype(np.float64)
    predicted = probabilities.argmax(axis=1)
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    right = predicted == labels
    confusion = _confusion(labels, predicted, len(predictions.class_names))
    classes, macro = _class_scores(confusion, predictions.class_names)
    each = tuple(
        Prediction(path, predictions.class_names[label], predictions.class_names[guess], float(probability))
        for path, label, guess, probability in zip(predictions.paths, labels, predicted, confidence, strict=True)
    )
    wrong = (one for one in each if one.true != one.predicted)
    return Evaluation(
        count=len(labels),
        loss=_cross_entropy(probabilities, labels),
        top1=proportion(int(right.sum()), len(labels)),
        top5=proportion(int((_ranks(probabilities, labels) < 5).sum()), len(labels)),
        macro=macro,
        classes=classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confused_pairs=_confused_pairs(confusion, predictions.class_names),
        calibration=reliability(confidence, right),
        sources=() if predictions.sources is None else _by_source(predictions.sources, right),
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
    shrink = 1 / (1 + _Z95**2 / count)
    centre = shrink * (share + _Z95**2 / (2 * count))
    half = shrink * _Z95 * (share * (1 - share) / count + _Z95**2 / (4 * count**2)) ** 0.5
    # At 0 and 1 one end of the interval is the fraction itself; rounding must not push it past.
    return Proportion(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), count)


def write_evaluation(evaluation: Evaluation, folder: Path, split: str) -> None:
    """Write the metrics of one split, each file atomically.

    Files: `metrics_<split>.json`; `confusion_<split>.csv` (first column the true class, then one column per
    predicted class); `per_class_<split>.csv`; `predictions_<split>.csv`.

    Args:
        evaluation: The metrics.
        folder: Output folder; created if missing.
        split: Name of the split, for the file names.

    Raises:
        StorageError: A file cannot be written.
    """
    write_json(folder / f"metrics_{split}.json", evaluation.to_dict())
    names = evaluation.class_names
    rows = zip(names, evaluation.confusion, strict=True)
    _write_csv(folder / f"confusion_{split}.csv", ["true", *names], ([name, *counts] for name, counts in rows))
    _write_csv(
        folder / f"per_class_{split}.csv",
        ["class", "precision", "recall", "f1", "support"],
        (
            [one.name, round(one.precision, 6), round(one.recall, 6), round(one.f1, 6), one.support]
            for one in evaluation.classes
        ),
    )
    _write_csv(
        folder / f"predictions_{split}.csv",
        ["path", "true", "predicted", "probability"],
        (
            [one.path.as_posix(), one.true, one.predicted, round(one.probability, 6)]
            for one in evaluation.predictions
        ),
    )


def _cross_entropy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(of_truth.clip(_SMALLEST, 1.0)).mean()) + 0.0  # + 0.0 turns -0.0 into 0.0


def _ranks(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many classes rank before the true one, (N,)."""
    of_truth = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    ranks: NDArray[np.int64] = ((probabilities > of_truth) | ((probabilities == of_truth) & before)).sum(axis=1)
    return ranks


def _confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _class_scores(
    confusion: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[ClassScores, ...], MacroScores]:
    hits, support, claimed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + claimed, 1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
    scores = tuple(ClassScores(*row) for row in zip(names, *columns, strict=True))
    held = support > 0
    macro = MacroScores(float(precision[held].mean()), float(recall[held].mean()), float(f1[held].mean()))
    return scores, macro


def _confused_pairs(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    pairs = [
        ConfusedPair(names[row], names[column], int(confusion[row, column]), float(shares[row, column]))
        for row, column in np.argwhere(confusion)
        if row != column
    ]
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


def _write_csv(path: Path, header: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    # Quoting every text keeps a carriage return in a name, which minimal quoting loses.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, _writable(text.getvalue()))


def _writable(value: Any) -> Any:
    r"""Escape undecodable bytes of a file name, which UTF-8 cannot represent, as in `caf\udce9.jpg`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value
