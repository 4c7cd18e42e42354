"""How far an answer can be trusted: temperature, scores that tell the unknown, thresholds with a promise.

A recogniser has an answer to every photo, also to one of a cat. Here its logits and embeddings become a score
that is high for what it knows; a threshold is chosen so that photos without a landmark pass it at most at a
promised rate. All of it travels in `model.json` as a `Calibration`.

Pure numpy: what uses a model and what trains one share this module.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ModelError, SettingsError
from landmarks.places import normalise

BACKGROUND = "background"
"""The class name that is reserved for pictures without a landmark; it is never a tag and never a candidate."""

ScoreKind = Literal["max_probability", "known_mass", "energy", "class_mean", "combined"]
"""Ways to tell the known from the unknown, see `unknown_scores`."""

ECE_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. 2017."""

_TINY = 1e-12  # keeps logarithms finite
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What turns the logits and the embedding of a model into calibrated answers and "I don't know".

    Attributes:
        temperature: Divisor of the logits before softmax, above 0.
        score: Which score tells the unknown.
        threshold: A photo whose score is lower is unknown.
        promised_rate: Share of photos without a landmark that may pass, in (0, 1).
        sure: Probability that a landmark, or the sum over a city, country or kind, needs to be said, in (0, 1).
        fitted_on: What the numbers were fitted on, for the model card.
        class_means: (K, D) means of the embeddings of the classes, of unit length; None where the score needs
            none.

    Raises:
        SettingsError: A value is out of range, or the means that the score needs are missing.
    """

    temperature: float
    score: ScoreKind
    threshold: float
    promised_rate: float
    sure: float = 0.5
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    class_means: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise SettingsError(f"temperature must be above 0, not {self.temperature}")
        if self.score not in get_args(ScoreKind):
            raise SettingsError(f"score must be one of {', '.join(get_args(ScoreKind))}, not {self.score!r}")
        if not math.isfinite(self.threshold):
            raise SettingsError(f"threshold must be a number, not {self.threshold}")
        for name in ("promised_rate", "sure"):
            if not 0 < getattr(self, name) < 1:
                raise SettingsError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if needs_class_means(self.score) and self.class_means is None:
            raise SettingsError(f"the score {self.score} needs the class means")

    def to_dict(self) -> dict[str, Any]:
        """Return the values as they stand in `model.json`; class means as base64 of little-endian float16."""
        values = {**asdict(self), "fitted_on": dict(self.fitted_on), "class_means": None}
        if self.class_means is not None:
            raw = self.class_means.astype("<f2").tobytes()
            shape = list(self.class_means.shape)
            values["class_means"] = {"shape": shape, "float16": base64.b64encode(raw).decode()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read back what `to_dict` gave.

        Raises:
            ModelError: A value is missing, unknown or out of range.
        """
        try:
            means = values["class_means"]
            if means is not None:
                flat = np.frombuffer(base64.b64decode(means["float16"], validate=True), dtype="<f2")
                means = flat.astype(np.float32).reshape(means["shape"])
            return cls(**{**values, "class_means": means})
        except (KeyError, TypeError, ValueError, SettingsError) as error:
            raise ModelError(f"the calibration is damaged ({error}): export the model again") from error


def needs_class_means(score: ScoreKind) -> bool:
    """Tell whether a score compares embeddings with class means."""
    return score in {"class_mean", "combined"}


def is_landmark(classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return, for each class, whether it is one that may be said: all but the background class."""
    return np.array([normalise(name) != BACKGROUND for name in classes], dtype=bool)


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of logits (N, K) at a temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature under which the logits are most probable.

    Temperature scaling of Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017,
    https://arxiv.org/abs/1706.04599. The cross-entropy is convex in the inverse of the temperature, so its slope
    has one zero, which bisection finds.

    Args:
        logits: (N, K), of pictures the network was not trained on.
        labels: (N,), the right classes.

    Returns:
        The temperature, from 0.01 to 100.
    """
    values = np.asarray(logits, dtype=np.float64)
    of_truth = values[np.arange(len(labels)), labels]
    low, high = math.log(0.01), math.log(100.0)  # of the inverse temperature
    for _ in range(60):
        middle = (low + high) / 2
        expected = (softmax(values, math.exp(-middle)) * values).sum(axis=1)
        if (expected - of_truth).mean() < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def class_means(embeddings: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float32]:
    """Return the mean direction of the embeddings of each class, (K, D), each of unit length.

    Args:
        embeddings: (N, D), of training pictures.
        labels: (N,).
        classes: K.

    Raises:
        DataError: A class has no embedding.
    """
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"class {missing[0]} has no embedding to take a mean of")
    unit = _unit(embeddings)
    means = _unit(np.stack([unit[labels == label].mean(axis=0) for label in range(classes)]))
    return means.astype(np.float16).astype(np.float32)  # as they will be read back from model.json


def unknown_scores(
    score: ScoreKind,
    logits: Floats,
    embeddings: Floats,
    *,
    known: NDArray[np.bool_],
    temperature: float = 1.0,
    means: Floats | None = None,
) -> NDArray[np.float64]:
    """Return how well each picture is known, (N,): higher is better known.

    `max_probability`: the largest probability of a landmark (Hendrycks and Gimpel 2017,
    https://arxiv.org/abs/1610.02136). `known_mass`: the log odds of all that is not background. `energy`: the
    log-sum-exp of the logits of the landmarks (Liu et al. 2020, https://arxiv.org/abs/2010.03759).
    `class_mean`: the cosine to the nearest class mean, after the Mahalanobis score of Lee et al. 2018
    (https://arxiv.org/abs/1807.03888) with the identity as covariance, which stays small in a model file.
    `combined`: the log of `max_probability` plus that of the share which the nearest landmark mean takes among
    all means, so that head and embedding must both agree.

    Args:
        score: Which one.
        logits: (N, K).
        embeddings: (N, D).
        known: (K,), from `is_landmark`.
        temperature: Of the softmax and of the energy.
        means: (K, D), from `class_means`, where the score needs them.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    probabilities = softmax(scaled)
    of_probabilities = scores_of_probabilities(score, probabilities, known=known)
    if of_probabilities is not None:
        return of_probabilities
    if score == "energy":
        return temperature * _log_sum_exp(scaled[:, known])
    if means is None:
        raise SettingsError(f"the score {score} needs the class means")
    cosines = _unit(embeddings) @ _unit(means).T
    if score == "class_mean":
        nearest: NDArray[np.float64] = cosines[:, known].max(axis=1)
        return nearest
    near = softmax(cosines, _MEAN_TEMPERATURE)[:, known].max(axis=1)
    together: NDArray[np.float64] = np.log(probabilities[:, known].max(axis=1) + _TINY) + np.log(near + _TINY)
    return together


_MEAN_TEMPERATURE = 0.05  # cosines of different classes differ by about a tenth


def scores_of_probabilities(
    score: ScoreKind, probabilities: Floats, *, known: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return the scores that follow from probabilities (N, K) alone, or None where a score needs more."""
    values = np.asarray(probabilities, dtype=np.float64)
    if score == "max_probability":
        largest: NDArray[np.float64] = values[:, known].max(axis=1)
        return largest
    if score == "known_mass":
        mass, rest = values[:, known].sum(axis=1), values[:, ~known].sum(axis=1)
        odds: NDArray[np.float64] = np.log(mass + _TINY) - np.log(rest + _TINY)
        return odds
    return None


def choose_threshold(negatives: Floats, promised_rate: float) -> float:
    """Return the lowest threshold that keeps a promised rate of false tags.

    Split conformal: if the photos to come are like the negatives, a new one reaches the threshold with a
    probability of at most `promised_rate`, whatever the distribution of the scores. Of n negatives at most
    `promised_rate * (n + 1) - 1` may therefore reach it, one less than the plain quantile allows. Source: Bates,
    Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 51 (2023),
    https://arxiv.org/abs/2104.08279.

    Args:
        negatives: Scores of photos without a landmark that no other number was fitted on.
        promised_rate: In (0, 1).

    Raises:
        SettingsError: The rate is out of range.
        DataError: There are too few negatives for such a promise.
    """
    if not 0 < promised_rate < 1:
        raise SettingsError(f"the promised rate must lie between 0 and 1, not {promised_rate}")
    count = len(negatives)
    # A hair more, because 0.01 * 300 must be 3.
    allowed = math.floor(promised_rate * (count + 1) * (1 + 1e-12)) - 1
    if allowed < 0:
        needed = math.ceil(1 / promised_rate) - 1
        raise DataError(f"{count} negatives cannot promise a rate of {promised_rate:g}: give at least {needed}")
    falling = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    return float(np.nextafter(falling[allowed], math.inf))


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network gives for N pictures: logits (N, K) and embeddings (N, D)."""

    logits: Floats
    embeddings: Floats


def calibrate(
    valid: Outputs,
    labels: NDArray[np.integer[Any]],
    negatives: Outputs,
    classes: Sequence[str],
    *,
    score: ScoreKind,
    promised_rate: float = 0.01,
    means: NDArray[np.float32] | None = None,
) -> Calibration:
    """Fit the temperature on validation pictures and choose the threshold on negatives.

    Args:
        valid: Of validation pictures, best of the exported model itself; those of the background class may be
            among them.
        labels: Their classes.
        negatives: Of photos without a landmark.
        classes: Names of the classes.
        score: What shall tell the unknown.
        promised_rate: Share of photos without a landmark that may get a tag.
        means: From `class_means`, where the score needs them.

    Raises:
        DataError: There are too few negatives for the promise.
        SettingsError: A value is out of range, or the score lacks its means.
    """
    temperature = fit_temperature(valid.logits, labels)
    known = is_landmark(classes)
    scores = unknown_scores(
        score, negatives.logits, negatives.embeddings, known=known, temperature=temperature, means=means
    )
    return Calibration(
        temperature=temperature,
        score=score,
        threshold=choose_threshold(scores, promised_rate),
        promised_rate=promised_rate,
        fitted_on={"validation": len(labels), "negatives": len(scores)},
        class_means=means if needs_class_means(score) else None,
    )


def micro_average_precision(confidences: Floats, right: NDArray[np.bool_], landmarks: int) -> float:
    """Return uAP, the GAP of the Google Landmarks challenge: one ranking over the answers to all pictures.

    Source: Weyand, Araujo, Cao and Sim, "Google Landmarks Dataset v2", CVPR 2020,
    https://arxiv.org/abs/2004.01804; the measure is from Perronnin, Liu and Renders, "A family of contextual
    measures of similarity between distributions with application to image retrieval", CVPR 2009.

    Args:
        confidences: One for each picture that got an answer; of equal ones the earlier counts as higher.
        right: Whether the answer is right; never for a picture without a landmark.
        landmarks: How many pictures show a landmark, answered or not; at least 1.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmarks)


def auroc(positives: Floats, negatives: Floats) -> float:
    """Return the chance that a positive scores higher than a negative, ties counting half.

    This is the area under the ROC curve (Hanley and McNeil, Radiology 143, 1982).

    Args:
        positives: Scores of pictures that are known, at least one.
        negatives: Scores of pictures that are not, at least one.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))


def share_at(scores: Floats, threshold: float, right: NDArray[np.bool_] | None = None) -> float:
    """Return the share of pictures that reach a threshold and, where `right` is given, are right.

    Of negatives this is the false-tag rate, of landmarks with `right` the recall.
    """
    reached = np.asarray(scores) >= threshold
    return float((reached if right is None else reached & right).mean())


def calibration_error(confidences: Floats, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of Guo et al. 2017 (see `fit_temperature`) over `ECE_BINS` bins."""
    edges = np.linspace(0.0, 1.0, ECE_BINS + 1)
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(places, weights=np.asarray(confidences) - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(places))


def _unit(vectors: Floats) -> NDArray[np.float64]:
    values = np.asarray(vectors, dtype=np.float64)
    unit: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), _TINY)
    return unit


def _log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = values.max(axis=1, keepdims=True)
    total: NDArray[np.float64] = np.log(np.exp(values - largest).sum(axis=1)) + largest[:, 0]
    return total
