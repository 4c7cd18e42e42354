"""One self-contained page per run: its metrics, what to do next, and the images behind them.

The advice comes from rules on the metrics; each rule is one function here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path

from PIL import Image

from landmarks.errors import ImageError
from landmarks.imaging.thumbnails import load_small
from landmarks.training.metrics.evaluate import ClassScores, Evaluation, Prediction
from landmarks.training.reports import plots
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.class_plots import SHOWN, class_curves
from landmarks.training.reports.page import (
    MOST_ROWS,
    Drawing,
    Thumbnail,
    both_ends,
    drawing,
    flat,
    percent,
    thumbnail,
    write_page,
)

_THUMBNAIL = 320  # pixels of the longer side, sharp on a phone at a third of the page


@dataclass(frozen=True)
class Advice:
    """One finding and what to do about it, in plain words."""

    title: str
    text: str


@dataclass(frozen=True)
class _Photo:
    picture: Thumbnail
    prediction: Prediction


def write_report(
    path: Path,
    *,
    title: str,
    settings: Mapping[str, object],
    summary: Sequence[tuple[str, str]],
    evaluations: Mapping[str, Evaluation],
    confusions: Mapping[str, bytes],
    history: Sequence[Mapping[str, float]],
    data_summary: Mapping[str, object],
    class_counts: Mapping[str, int],
    environment: Mapping[str, object],
    class_history: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write the report of a run as one HTML file, atomically.

    The headline and the images are from the split `test`, or the last one if there is no `test`; the others are in
    a table. Unreadable images are named and left out.

    Args:
        path: The file to write.
        title: Heading of the page.
        settings: Settings of the run; nested mappings are flattened.
        summary: Pairs of a name and a value that summarise the run.
        evaluations: Metrics by split; may be empty.
        confusions: The confusion matrix of each split as PNG, see `plots.confusion_matrix`.
        history: Rows for `plots.learning_curves`; may be empty.
        data_summary: Name, fingerprint and counts of the data.
        class_counts: Training images by class name.
        environment: Versions and machine.
        class_history: Validation accuracy of each class by epoch.

    Raises:
        StorageError: The file cannot be written.
    """
    values: dict[str, object] = {
        "title": title,
        "summary": summary,
        "evaluations": evaluations,
        "class_counts": class_counts,
        "headline": None,
        "curves": drawing(plots.learning_curves(history), _curves_alt(history)) if history else None,
        "class_curves": _class_curves(class_history or {}),
        "captions": {
            "settings": "Settings of the run",
            "data": "The pictures it was trained on",
            "versions": "Software and machine",
        },
        "tables": [
            ("Settings", "settings", list(flat(settings))),
            ("Data", "data", list(flat(data_summary))),
            ("Versions", "versions", list(flat(environment))),
        ],
    }
    if evaluations:
        values |= _headline(evaluations, confusions, history, class_counts)
    write_page(path, "report.html.jinja", values)


def advise(
    evaluations: Mapping[str, Evaluation], history: Sequence[Mapping[str, float]], class_counts: Mapping[str, int]
) -> list[Advice]:
    """Return what to do next, most important first; empty if nothing stands out.

    Args:
        evaluations: Metrics by split, at least one; see `write_report` for the split that is used.
        history: Rows for `plots.learning_curves`.
        class_counts: Training images by class name.
    """
    split = _headline_split(evaluations)
    evaluation = evaluations[split]
    rules = (
        _overfitting(history),
        _unfinished(history),
        _optimistic_validation(evaluations, split),
        _confusions(evaluation),
        _weak_classes(evaluation, class_counts),
        _imbalance(class_counts),
        _weak_sources(evaluation),
        _calibration(evaluation),
        _sure_mistakes(evaluation),
        _few_pictures(evaluation),
    )
    return [advice for advice in rules if advice is not None]


def load_mistakes(evaluation: Evaluation) -> tuple[list[tuple[Prediction, Image.Image]], list[str]]:
    """Read the worst mistakes as small images.

    Returns:
        Each mistake with its image, and a sentence per unreadable image.
    """
    read, unreadable = [], []
    for mistake in evaluation.mistakes:
        try:
            image = load_small(mistake.path, _THUMBNAIL)
        except ImageError as error:
            unreadable.append(f"{mistake.path.name}: {error.reason}")
            continue
        read.append((mistake, image))
    return read, unreadable


def shown_classes(classes: Sequence[ClassScores]) -> list[ClassScores]:
    """Return the classes of a page: lowest F1 first, those without images last; of very many only both ends."""
    ordered = sorted(classes, key=lambda one: (one.support == 0, one.f1))
    return ordered if len(ordered) <= MOST_ROWS else both_ends([one for one in ordered if one.support])


def _headline_split(evaluations: Mapping[str, Evaluation]) -> str:
    return "test" if "test" in evaluations else list(evaluations)[-1]


def _headline(
    evaluations: Mapping[str, Evaluation],
    confusions: Mapping[str, bytes],
    history: Sequence[Mapping[str, float]],
    class_counts: Mapping[str, int],
) -> dict[str, object]:
    split = _headline_split(evaluations)
    evaluation = evaluations[split]
    mistakes, unreadable = load_mistakes(evaluation)
    right = int(evaluation.confusion.hits.sum())
    return {
        "headline": evaluation,
        "split": split,
        "verdict": _verdict(evaluation, split),
        "advice": advise(evaluations, history, class_counts),
        "shown": display_names(evaluation.class_names),
        "classes": shown_classes(evaluation.classes),
        "confusion": drawing(
            confusions[split],
            f"Confusions of {len(evaluation.classes)} classes: {right} of {evaluation.count} "
            "pictures were recognised. The most frequent mistakes are in the next table.",
        ),
        "reliability": drawing(
            plots.reliability_diagram(evaluation.calibration),
            f"Accuracy against confidence: mean confidence {percent(evaluation.calibration.confidence)}, "
            f"accuracy {percent(evaluation.top1.value)}.",
        ),
        "photos": [_Photo(thumbnail(image), mistake) for mistake, image in mistakes],
        "unreadable": unreadable,
        "matrix": len(evaluation.classes) <= plots.MOST_CLASSES,
    }


def _verdict(evaluation: Evaluation, split: str) -> str:
    top1 = evaluation.top1
    common = max(one.support for one in evaluation.classes) / evaluation.count
    words = {0.95: "Very good", 0.85: "Good", 0.7: "Usable with care", 0.0: "Weak"}
    word = next(text for least, text in words.items() if top1.value >= least)
    if top1.low <= common:
        word = "No better than guessing"
    return (
        f"{word}: on {evaluation.count} {split} pictures, top-1 accuracy is {percent(top1.value)}. "
        f"For pictures like these its accuracy is between {percent(top1.low)} and {percent(top1.high)} (95% "
        f"interval). Always predicting the most common class would reach {percent(common)}."
    )


def _lowest_row(history: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Return the epoch of the lowest validation loss."""
    rows = [row for row in history if isfinite(row.get("valid_loss", float("nan")))]
    return min(rows, key=lambda row: row["valid_loss"], default=None)


def _saved_row(history: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Return the epoch whose weights were saved, or that of the lowest validation loss if no row has it."""
    return next((row for row in reversed(history) if row.get("saved")), _lowest_row(history))


def _overfitting(history: Sequence[Mapping[str, float]]) -> Advice | None:
    best, lowest = _saved_row(history), _lowest_row(history)
    if best is None or lowest is None:
        return None
    gap = best.get("train_accuracy", 0.0) - best.get("valid_accuracy", 1.0)
    last = history[-1]
    rise = last.get("valid_loss", 0.0) / max(lowest["valid_loss"], 1e-9) - 1
    if gap > 0.1:
        found = (
            f"at the epoch that was saved, training accuracy is {percent(best['train_accuracy'])} and validation "
            f"accuracy {percent(best['valid_accuracy'])}"
        )
    elif rise > 0.1 and last.get("train_loss", 0.0) < lowest.get("train_loss", 0.0):
        found = (
            f"after epoch {lowest['epoch'] + 1:g} the validation loss rose by {percent(rise)} while the training "
            f"loss kept falling (the saved weights are those of epoch {best['epoch'] + 1:g})"
        )
    else:
        return None
    return Advice(
        "Overfitting",
        f"The model overfits, it memorises training pictures: {found}. Add pictures, use stronger augmentation "
        "(--augment), raise --dropout or --weight-decay, or start from a pretrained network (--method transfer).",
    )


def _unfinished(history: Sequence[Mapping[str, float]]) -> Advice | None:
    best = _lowest_row(history)
    if len(history) < 6 or best is not history[-1]:
        return None
    fall = 1 - best["valid_loss"] / history[-4].get("valid_loss", float("nan"))
    if not fall > 0.03:
        return None
    return Advice(
        "Training stopped while the model was still improving",
        f"The validation loss fell by {percent(fall)} in the last three epochs. Train longer (--epochs).",
    )


def _optimistic_validation(evaluations: Mapping[str, Evaluation], split: str) -> Advice | None:
    if split != "test" or "valid" not in evaluations:
        return None
    valid, test = evaluations["valid"].top1, evaluations["test"].top1
    if valid.low <= test.high:
        return None
    return Advice(
        "Validation accuracy is too optimistic",
        f"{percent(valid.value)} on validation, {percent(test.value)} on test, and the intervals do not touch. "
        "Look for near-duplicates of training pictures in the validation split, and for test pictures of another "
        "kind.",
    )


def _confusions(evaluation: Evaluation) -> Advice | None:
    shown = display_names(evaluation.class_names)
    pairs = [pair for pair in evaluation.confused_pairs if pair.count >= 2 and pair.share >= 0.1][:3]
    if not pairs:
        return None
    listed = "; ".join(
        f"{shown[pair.true]} predicted as {shown[pair.predicted]} ({pair.count} times, {percent(pair.share)} of "
        "its pictures)"
        for pair in pairs
    )
    return Advice(
        "Confused classes",
        f"{listed}. Compare the pictures of both classes: correct wrong labels first, then add pictures "
        "that show the difference.",
    )


def _weak_classes(evaluation: Evaluation, class_counts: Mapping[str, int]) -> Advice | None:
    shown = display_names(evaluation.class_names)
    weak = [one for one in evaluation.classes if one.support and one.f1 < evaluation.macro.f1 - 0.15]
    if not weak:
        return None
    listed = "; ".join(
        f"{shown[one.name]} (F1 {percent(one.f1)}"
        + (f", {class_counts[one.name]} training pictures)" if one.name in class_counts else ")")
        for one in sorted(weak, key=lambda one: one.f1)[:3]
    )
    return Advice(
        "Classes far behind the others",
        f"{listed}. The mean F1 is {percent(evaluation.macro.f1)}. Add varied pictures of these classes and "
        "check their labels.",
    )


def _imbalance(class_counts: Mapping[str, int]) -> Advice | None:
    most, least = max(class_counts.values(), default=0), min(class_counts.values(), default=0)
    if most < 5 * least or most == 0:
        return None
    return Advice(
        "Classes of very different size",
        f"The largest class has {most} training pictures, the smallest {least}. Try --head cosine "
        "--margin 0.05 --rare-margin 0.5, or --sampler balanced, or add pictures of the small classes.",
    )


def _weak_sources(evaluation: Evaluation) -> Advice | None:
    weak = [row for row in evaluation.sources if row.accuracy.high < evaluation.top1.low]
    if not weak:
        return None
    listed = "; ".join(f"{row.source or 'not given'} ({percent(row.accuracy.value)})" for row in weak[:3])
    return Advice(
        "Weak sources",
        f"{listed}, against {percent(evaluation.top1.value)} over all. Add pictures of these sources to the "
        "training pictures of several classes, so that the source does not give the class away.",
    )


def _calibration(evaluation: Evaluation) -> Advice | None:
    error, confidence = evaluation.calibration.error, evaluation.calibration.confidence
    if error <= 0.05:
        return None
    way = "overconfident" if confidence > evaluation.top1.value else "underconfident"
    return Advice(
        "Confidence is poorly calibrated",
        f"The model is {way}: mean confidence {percent(confidence)}, accuracy {percent(evaluation.top1.value)}, "
        f"calibration error {percent(error)}. Fit a temperature on the validation split before a threshold is "
        "chosen.",
    )


def _sure_mistakes(evaluation: Evaluation) -> Advice | None:
    sure = [one for one in evaluation.predictions if one.true != one.predicted and one.probability >= 0.9]
    if len(sure) < 3:
        return None
    return Advice(
        "Confident mistakes",
        f"{len(sure)} wrong predictions have a confidence of 90% or more. Look at the worst mistakes "
        "below: among them are often wrong labels and pictures that show something else.",
    )


def _few_pictures(evaluation: Evaluation) -> Advice | None:
    top1 = evaluation.top1
    if top1.high - top1.low <= 0.1:
        return None
    # Sample size at which the normal approximation is +/- 3 points.
    share = min(max(top1.value, 0.05), 0.95)
    needed = ceil(1.96**2 * share * (1 - share) / 0.03**2 / 10) * 10
    return Advice(
        "Too few pictures for a precise estimate",
        f"With {evaluation.count} pictures the accuracy is known to {(top1.high - top1.low) * 50:.0f} points to "
        f"either side. About {max(needed, evaluation.count)} pictures would bring that to 3 points.",
    )


def _class_curves(history: Mapping[str, Sequence[float]]) -> Drawing | None:
    figure = class_curves(history)
    alt = f"Validation accuracy by epoch of the {SHOWN} classes that gained most and of those that fell most."
    return None if figure is None else drawing(figure, alt)


def _curves_alt(history: Sequence[Mapping[str, float]]) -> str:
    best = _saved_row(history)
    if best is None:
        return f"Loss, accuracy and learning rate over {len(history)} epochs."
    return (
        f"Loss, accuracy and learning rate over {len(history)} epochs. The saved weights are those of epoch "
        f"{best['epoch'] + 1:g}, with a validation loss of {best['valid_loss']:.3f}."
    )
