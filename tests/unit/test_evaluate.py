"""Each metric against a slow, obvious computation, and invariants between metrics."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, precision_recall_fscore_support, top_k_accuracy_score

from landmarks.errors import DataError
from landmarks.training.metrics.evaluate import (
    CALIBRATION_BINS,
    MOST_CONFUSED,
    WORST_MISTAKES,
    Predictions,
    evaluate,
    evaluate_outcomes,
    proportion,
    write_evaluation,
)
from landmarks.training.metrics.outcomes import Outcomes

STRANGE_NAMES = ("Tour Eiffel, Paris", 'the "Gherkin"', "Köln ⛪", "🗼 東京", "a\nb\rc", " ", "<script>", "'=1+1")


def predictions(probabilities: Any, labels: Any, **changes: Any) -> Predictions:
    table = np.asarray(probabilities, dtype=np.float32)
    given: dict[str, Any] = {
        "class_names": tuple(f"class {index}" for index in range(table.shape[1])),
        "paths": tuple(Path(f"{index}.jpg") for index in range(len(table))),
    }
    return Predictions(table, np.asarray(labels, dtype=np.int64), **(given | changes))


@st.composite
def random_predictions(draw: st.DrawFn) -> Predictions:
    classes = draw(st.integers(2, 8))
    count = draw(st.integers(1, 30))
    # Small whole numbers, so that equal probabilities, zeros and certainties are common.
    weights = st.lists(st.integers(0, 5), min_size=classes, max_size=classes).filter(any)
    table = np.array([draw(weights) for _ in range(count)], dtype=np.float64)
    table /= table.sum(axis=1, keepdims=True)
    labels = [draw(st.integers(0, classes - 1)) for _ in range(count)]
    sources = [draw(st.sampled_from("abc")) for _ in range(count)] if draw(st.booleans()) else None
    return predictions(table, labels, sources=None if sources is None else tuple(sources))


def slow_answers(given: Predictions) -> list[int]:
    answers = []
    for row in given.probabilities:
        best = 0
        for index, probability in enumerate(row):
            if probability > row[best]:
                best = index
        answers.append(best)
    return answers


@given(random_predictions())
def test_loss_and_top_k_match_a_loop(given: Predictions) -> None:
    losses, hits = [], 0
    for row, label in zip(given.probabilities, given.labels, strict=True):
        losses.append(-math.log(min(max(float(row[label]), np.finfo(np.float32).eps), 1.0)))
        order = sorted(range(len(row)), key=lambda index, row=row: (-row[index], index))
        hits += label in order[:5]
    result = evaluate(given)
    assert result.loss == pytest.approx(sum(losses) / len(losses), abs=1e-9)
    assert result.top5.value == hits / len(losses)
    answers = slow_answers(given)
    assert result.top1.value == sum(a == b for a, b in zip(answers, given.labels, strict=True)) / len(losses)
    assert [answer.predicted for answer in result.predictions] == [given.class_names[index] for index in answers]


@given(random_predictions())
def test_class_scores_match_counting(given: Predictions) -> None:
    answers, result = slow_answers(given), evaluate(given)
    pairs = list(zip(given.labels.tolist(), answers, strict=True))
    for index, scores in enumerate(result.classes):
        both = sum(pair == (index, index) for pair in pairs)
        support = sum(label == index for label, _ in pairs)
        claimed = sum(answer == index for _, answer in pairs)
        precision = both / claimed if claimed else 0.0
        recall = both / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if both else 0.0
        expected = (precision, recall, f1, support)
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(expected)
        row = [sum(pair == (index, other) for pair in pairs) for other in range(len(result.classes))]
        assert result.confusion.table()[index].tolist() == row


@given(random_predictions())
def test_confused_pairs_match_counting(given: Predictions) -> None:
    result, names = evaluate(given), given.class_names
    counts: dict[tuple[str, str], int] = {}
    for label, answer in zip(given.labels, slow_answers(given), strict=True):
        if label != answer:
            counts[names[label], names[answer]] = counts.get((names[label], names[answer]), 0) + 1
    listed = {(pair.true, pair.predicted): pair.count for pair in result.confused_pairs}
    assert len(listed) == min(len(counts), MOST_CONFUSED)
    assert all(counts[pair] == count for pair, count in listed.items())
    assert sorted(listed.values(), reverse=True) == sorted(counts.values(), reverse=True)[:MOST_CONFUSED]


@given(random_predictions())
def test_calibration_matches_a_loop(given: Predictions) -> None:
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(CALIBRATION_BINS)]
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    for row, label, answer in zip(given.probabilities, given.labels, slow_answers(given), strict=True):
        confidence = min(float(row[answer]), 1.0)
        for index in range(CALIBRATION_BINS):
            if edges[index] < confidence <= edges[index + 1]:
                bins[index].append((confidence, bool(label == answer)))
    error = 0.0
    for held in filter(None, bins):
        gap = sum(right for _, right in held) / len(held) - sum(sure for sure, _ in held) / len(held)
        error += abs(gap) * len(held) / len(given.labels)
    result = evaluate(given).calibration
    assert result.error == pytest.approx(error, abs=1e-9)
    assert [one.count for one in result.bins] == [len(held) for held in bins]
    assert all((one.accuracy is None) == (one.count == 0) for one in result.bins)


@given(random_predictions())
def test_invariants(given: Predictions) -> None:
    result = evaluate(given)
    confusion = result.confusion.table()
    assert confusion.sum(axis=1).tolist() == [scores.support for scores in result.classes]
    assert confusion.sum() == result.count == len(given.paths)
    assert np.trace(confusion) / result.count == result.top1.value
    assert result.top1.value <= result.top5.value
    assert sum(one.count for one in result.calibration.bins) == result.count
    rates = [result.top1, result.top5, *(row.accuracy for row in result.sources)]
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in rates)
    wrong = result.count - np.trace(confusion)
    assert len(result.mistakes) == min(wrong, WORST_MISTAKES)
    if given.sources is None:
        assert result.sources == ()
    else:
        assert sum(row.accuracy.count for row in result.sources) == result.count
        hits = sum(round(row.accuracy.value * row.accuracy.count) for row in result.sources)
        assert hits == np.trace(confusion)


@given(st.integers(1, 5000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_interval_is_wilsons(successes_of_count: tuple[int, int]) -> None:
    successes, count = successes_of_count
    expected = binomtest(successes, count).proportion_ci(method="wilson")
    result = proportion(successes, count)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert result.low <= result.value <= result.high


@pytest.mark.parametrize(("count", "classes"), [(400, 12), (50, 2)])
def test_figures_match_the_libraries(count: int, classes: int) -> None:
    random = np.random.default_rng(7)
    table = random.dirichlet(np.full(classes, 2.0), count)
    labels = np.where(random.random(count) < 0.6, table.argmax(axis=1), random.integers(0, classes, count))
    result = evaluate(predictions(table, labels))
    table = table.astype(np.float32)
    macro = precision_recall_fscore_support(
        labels, table.argmax(axis=1), labels=sorted(set(labels)), average="macro", zero_division=0
    )
    assert (result.macro.precision, result.macro.recall, result.macro.f1) == pytest.approx(macro[:3])
    exact = table.astype(np.float64) / table.sum(axis=1, keepdims=True, dtype=np.float64)
    assert result.loss == pytest.approx(log_loss(labels, exact, labels=range(classes)), abs=1e-4)
    if classes > 5:
        assert result.top5.value == top_k_accuracy_score(labels, table, k=5)
    confidence, hits = table.max(axis=1), table.argmax(axis=1) == labels
    true, predicted = calibration_curve(hits, confidence, n_bins=CALIBRATION_BINS)
    counts = np.histogram(confidence, CALIBRATION_BINS, (0, 1))[0]
    error = np.average(np.abs(true - predicted), weights=counts[counts > 0])
    assert result.calibration.error == pytest.approx(float(error), abs=1e-5)


def test_fewer_than_five_classes_are_all_in_the_top_five() -> None:
    assert evaluate(predictions([[0.9, 0.1], [0.8, 0.2]], [1, 0])).top5.value == 1.0


def test_a_class_without_pictures_leaves_the_macro_scores_alone() -> None:
    perfect = evaluate(predictions([[1, 0, 0], [0, 1, 0]], [0, 1]))
    assert perfect.macro.recall == perfect.macro.f1 == 1.0
    assert (perfect.classes[2].support, perfect.classes[2].recall) == (0, 0.0)


def test_a_certain_and_wrong_answer_has_a_finite_loss() -> None:
    assert evaluate(predictions([[1.0, 0.0]], [1])).loss == pytest.approx(-math.log(np.finfo(np.float32).eps))


@given(random_predictions(), st.integers(1, 4))
def test_batches_are_evaluated_as_all_images_together(given: Predictions, size: int) -> None:
    parts = range(0, len(given.labels), size)
    batches = [(given.probabilities[start : start + size], given.labels[start : start + size]) for start in parts]
    outcomes = Outcomes.joined(Outcomes.of(*batch) for batch in batches)
    result = evaluate_outcomes(outcomes, given.class_names, given.paths, given.sources)
    assert result.to_dict() == evaluate(given).to_dict()
    assert result.predictions == evaluate(given).predictions


def test_very_many_classes_take_memory_by_image_and_their_table_lists_the_pairs(tmp_path: Path) -> None:
    classes = 81_000  # a matrix of them has 52 GB
    labels = np.array([7, 7, 80_999, 500])
    predicted = np.array([7, 9, 80_999, 7])
    outcomes = Outcomes(labels, predicted, np.full(4, 0.9), np.full(4, 0.5), labels - labels)
    names = tuple(f"class {index}" for index in range(classes))
    result = evaluate_outcomes(outcomes, names, [Path(f"{index}.jpg") for index in range(4)])
    write_evaluation(result, tmp_path, "test")
    assert read_csv(tmp_path / "confusion_test.csv") == [
        ["true", "predicted", "images"],
        ["class 7", "class 7", "1"],
        ["class 7", "class 9", "1"],
        ["class 500", "class 7", "1"],
        ["class 80999", "class 80999", "1"],
    ]
    assert (result.top1.value, result.macro.recall) == (0.5, 0.5)
    assert [(pair.true, pair.predicted) for pair in result.confused_pairs] == [
        ("class 500", "class 7"),
        ("class 7", "class 9"),
    ]


def test_worst_mistakes_come_first() -> None:
    result = evaluate(predictions([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], [1, 1, 1, 1]))
    assert [mistake.path.name for mistake in result.mistakes] == ["1.jpg", "3.jpg", "0.jpg"]
    assert (result.mistakes[0].true, result.mistakes[0].predicted) == ("class 1", "class 0")
    assert result.mistakes[0].probability == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("probabilities", "labels", "changes", "message"),
    [
        (np.zeros((0, 2)), [], {}, "no prediction"),
        ([[1.0]], [0], {}, "at least two"),
        ([[0.5, 0.5]], [0], {"class_names": ("a", "a")}, "no two may be the same"),
        ([[0.5, 0.5]], [2], {}, "from 0 to 1"),
        ([[0.5, 0.5]], [-1], {}, "from 0 to 1"),
        ([[0.5, 0.6]], [0], {}, "the sum 1"),
        ([[1.5, -0.5]], [0], {}, "the sum 1"),
        ([[math.nan, 0.5]], [0], {}, "the sum 1"),
        ([[0.5, 0.5]], [0, 1], {}, "do not fit 1 pictures"),
        ([[0.5, 0.5]], [0], {"sources": ("a", "b")}, "2 sources"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    probabilities: Any, labels: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        predictions(probabilities, labels, **changes)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_files_hold_the_figures_and_strange_names(tmp_path: Path) -> None:
    count = len(STRANGE_NAMES)
    table = np.full((count, count), 0.5 / (count - 1))
    np.fill_diagonal(table, 0.5)
    labels = np.roll(np.arange(count), 1)
    paths = tuple(Path(f"{name.replace('/', '')}/1, 2.jpg") for name in STRANGE_NAMES)
    result = evaluate(
        predictions(table, labels, class_names=STRANGE_NAMES, paths=paths, sources=("Flickr, é",) * count)
    )
    write_evaluation(result, tmp_path / "new", "test")

    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "confusion_test.csv",
        "metrics_test.json",
        "per_class_test.csv",
        "predictions_test.csv",
    ]
    confusion = read_csv(tmp_path / "new" / "confusion_test.csv")
    assert confusion[0] == ["true", *STRANGE_NAMES]
    assert [row[0] for row in confusion[1:]] == list(STRANGE_NAMES)
    assert [list(map(int, row[1:])) for row in confusion[1:]] == result.confusion.table().tolist()
    per_class = read_csv(tmp_path / "new" / "per_class_test.csv")
    assert [row[0] for row in per_class[1:]] == list(STRANGE_NAMES)
    answers = read_csv(tmp_path / "new" / "predictions_test.csv")
    assert answers[0] == ["path", "true", "predicted", "probability"]
    assert [tuple(row[:3]) for row in answers[1:]] == [
        (str(one.path), one.true, one.predicted) for one in result.predictions
    ]
    figures = json.loads((tmp_path / "new" / "metrics_test.json").read_text(encoding="utf-8"))
    assert figures == json.loads(json.dumps(result.to_dict()))
    assert figures["top1"]["value"] == result.top1.value
    assert figures["sources"][0]["source"] == "Flickr, é"
    assert [scores["name"] for scores in figures["classes"]] == list(STRANGE_NAMES)


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=5, unique=True))
def test_any_class_name_comes_back_from_csv(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("round-trip")
    table = np.full((1, len(names)), 1 / len(names))
    write_evaluation(evaluate(predictions(table, [0], class_names=tuple(names))), folder, "valid")
    assert read_csv(folder / "confusion_valid.csv")[0] == ["true", *names]


def test_a_file_name_that_is_no_utf8_is_spelt_out(tmp_path: Path) -> None:
    path = Path("caf\udce9.jpg")
    write_evaluation(evaluate(predictions([[0.9, 0.1]], [1], paths=(path,))), tmp_path, "test")
    assert read_csv(tmp_path / "predictions_test.csv")[1][0] == r"caf\udce9.jpg"
    assert r"caf\\udce9.jpg" in (tmp_path / "metrics_test.json").read_text(encoding="utf-8")
