"""Every plot can be drawn for any number of classes and any names, with warnings as errors."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from landmarks.errors import DataError, StorageError
from landmarks.training.metrics.evaluate import Evaluation, Predictions, evaluate
from landmarks.training.reports import plots
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.experiment_plots import compared_curves

STRANGE_NAMES = (
    "🗼 東京タワー",
    "Köln, «Dom»",
    "cost $5 and $6",
    r"\frac{1}{2} $\alpha$",
    "👩‍👩‍👧",
    "",
    "tab\tnew\nline",
    "caf\udce9",
    "a name that is far too long to stand beside an axis, and then some more",
)


def evaluation(classes: int, count: int = 40, names: tuple[str, ...] | None = None) -> Evaluation:
    random = np.random.default_rng(classes)
    table = random.dirichlet(np.full(classes, 0.5), count).astype(np.float32)
    return evaluate(
        Predictions(
            table,
            random.integers(0, classes, count),
            names or tuple(f"{index:02d}.Class_{index}" for index in range(classes)),
            tuple(Path(f"{index}.jpg") for index in range(count)),
        )
    )


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 3 / (epoch + 1),
            "valid_loss": 3 / (epoch + 1) + 0.02 * epoch,
            "train_accuracy": 1 - 0.9 / (epoch + 1),
            "valid_accuracy": 1 - 0.9 / (epoch + 1) - 0.05,
            "learning_rate": 1e-3 / (epoch + 1),
        }
        for epoch in range(epochs)
    ]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 120, dtype=np.uint8)


def drawn(figure: Figure) -> Image.Image:
    image = Image.open(io.BytesIO(plots.png_bytes(figure)))
    image.load()
    assert image.format == "PNG"
    return image


def style() -> dict[str, object]:
    return {str(key): mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}  # reading that one sets it


def matrix_of(given: Evaluation) -> Figure:
    return plots.confusion_matrix(given.confusion, given.class_names)


def diagram_of(given: Evaluation) -> Figure:
    return plots.reliability_diagram(given.calibration)


def tick_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 100])
def test_pictures_of_an_evaluation_at_any_number_of_classes(classes: int) -> None:
    given = evaluation(classes)
    figures = [draw(given) for draw in (matrix_of, plots.per_class_bars, diagram_of)]
    matrix, bars, reliability = (figure.axes[0] for figure in figures)
    if classes <= plots.MOST_CLASSES:
        assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("predicted", "true")
        assert matrix.collections[0].get_array().size == classes**2
        assert len(set(tick_labels(figures[0]))) == classes
    else:
        assert matrix.get_xlabel() == "images"
        assert len(matrix.patches) == plots.MOST_PAIRS
    scores = sorted(given.classes, key=lambda one: one.f1)[: plots.MOST_BARS]
    assert [bar.get_width() for bar in bars.patches] == [one.f1 for one in scores]
    assert {line.get_label() for line in bars.lines} == {"precision", "recall"}
    held = [one for one in given.calibration.bins if one.accuracy is not None]
    assert [bar.get_height() for bar in reliability.containers[0]] == [one.accuracy for one in held]
    assert [bar.get_height() for bar in figures[2].axes[1].patches] == [one.count for one in held]
    for image in map(drawn, figures):
        assert min(image.size) > 200
        assert max(image.size) < 3200


@pytest.mark.parametrize("draw", [matrix_of, plots.per_class_bars, diagram_of])
def test_strange_class_names_are_drawn(draw: object) -> None:
    drawn(draw(evaluation(len(STRANGE_NAMES), names=STRANGE_NAMES)))  # type: ignore[operator]


def test_labels_keep_what_the_font_has_and_number_the_rest() -> None:
    labels = tick_labels(matrix_of(evaluation(len(STRANGE_NAMES), names=STRANGE_NAMES)))
    assert labels[0] == "class 0"
    assert labels[1] == "Köln, «Dom»"
    assert labels[5] == "class 5"
    assert labels[6] == "tab new line"
    assert all(len(label) <= 30 for label in labels)


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    names = tuple(f"the church of our lady by the river, side {index}" for index in range(3))
    assert len(set(tick_labels(matrix_of(evaluation(3, names=names))))) == 3


@pytest.mark.parametrize(("classes", "all_printed"), [(20, True), (21, False)])
def test_mistakes_are_counted_and_right_answers_where_there_is_room(classes: int, all_printed: bool) -> None:
    given = evaluation(classes)
    right = sum(row[index] for index, row in enumerate(given.confusion.table()))
    texts = [int(text.get_text()) for text in matrix_of(given).axes[0].texts]
    assert sum(texts) == given.count - (0 if all_printed else right)


def test_the_legend_of_the_calibration_hides_no_bar() -> None:
    figure = diagram_of(evaluation(4))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_bars_put_the_weakest_class_first() -> None:
    given = evaluation(4)
    weakest = min(given.classes, key=lambda scores: scores.f1)
    assert tick_labels(plots.per_class_bars(given))[0].startswith(weakest.name[3:].replace("_", " "))


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_learning_curves(epochs: int) -> None:
    rows = history(epochs)
    figure = plots.learning_curves(rows)
    curves = {"training": "train", "validation": "valid"}
    for axes, name in zip(figure.axes, ("loss", "accuracy", "learning_rate"), strict=True):
        assert axes.get_xlabel() == "epoch"
        lines = {str(line.get_label()): line for line in axes.lines}
        keys = (
            {"learning rate": name} if name == "learning_rate" else {k: f"{v}_{name}" for k, v in curves.items()}
        )
        for label, key in keys.items():
            assert list(lines[label].get_ydata()) == [row[key] for row in rows]
    drawn(figure)


def test_the_best_epoch_is_the_one_of_the_lowest_validation_loss() -> None:
    rows = history(3)
    rows[1]["valid_loss"] = 0.0
    marks = [line for line in plots.learning_curves(rows).axes[1].lines if line.get_label() == "lowest loss"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [2.0]  # counted from 1, as by the terminal


def test_learning_curves_with_gaps() -> None:
    rows = [row | {"valid_loss": math.nan, "learning_rate": 0.0} for row in history(3)]
    for row in rows:
        del row["valid_accuracy"]
    figure = plots.learning_curves(rows)
    shown = {(axes.get_title("left"), str(line.get_label())): line for axes in figure.axes for line in axes.lines}
    for title in ("Loss", "Accuracy"):
        assert np.isnan(shown[title, "validation"].get_ydata()).all()
        assert np.isfinite(shown[title, "training"].get_ydata()).all()
    assert ("Loss", "lowest loss") not in shown
    drawn(figure)


def test_no_epoch_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="no epoch"):
        plots.learning_curves([])


def test_a_batch_takes_pictures_of_any_size_and_long_titles() -> None:
    pictures = [picture(10, 300), picture(300, 10), picture(64, 64)]
    titles = ["🗼 $x$ " + "long " * 20, "two\nlines", ""]
    figure = plots.sample_batch(pictures, pictures, titles)
    assert drawn(figure).width > 300
    shown = [axes.get_title() for axes in figure.axes]
    assert len(shown[0]) <= 26
    assert shown[1] == "two\nlines"
    drawn(plots.sample_batch(pictures[:1], pictures[:1]))


@pytest.mark.parametrize("count", [1, 8, 9])
def test_a_sample_batch_pairs_before_and_after(count: int) -> None:
    before, after = [picture(64, 80)] * count, [picture(32, 32)] * count
    figure = plots.sample_batch(before, after, [f"{index}" for index in range(count)])
    assert sum(bool(axes.images) for axes in figure.axes) == 2 * count
    drawn(figure)


def test_sheets_refuse_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="no picture"):
        plots.sample_batch([], [])
    with pytest.raises(DataError, match="2 titles"):
        plots.sample_batch([picture(8, 8)], [picture(8, 8)], ["a", "b"])
    with pytest.raises(DataError, match="do not pair"):
        plots.sample_batch([picture(8, 8)], [])


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("07.Eiffel_Tower", "Petra"), ["Eiffel Tower", "Petra"]),
        (("1.dome", "2.dome"), ["1.dome", "2.dome"]),
        (("12.", "747"), ["12.", "747"]),
    ],
)
def test_display_names(names: tuple[str, ...], shown: list[str]) -> None:
    assert list(display_names(names).values()) == shown


def test_a_picture_is_saved_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = style()
    plots.save_figure(plots.learning_curves(history(2)), tmp_path / "new" / "curves.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "new" / "curves.png") as image:
        assert image.format == "PNG"
    assert style() == before


def test_drawing_loads_neither_pytorch_nor_the_global_figures_of_pyplot() -> None:
    program = (
        "import sys; from landmarks.training.reports import plots, report;"
        "plots.png_bytes(plots.learning_curves([{'epoch': 0, 'valid_loss': 1.0}]));"
        "sys.exit(bool({'torch', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    figure = plots.learning_curves(history(2))
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        plots.save_figure(figure, tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_many_classes_are_drawn_as_their_most_confused_pairs() -> None:
    given = evaluation(1500, count=4000)
    started = time.process_time()
    figure = matrix_of(given)
    image = drawn(figure)
    assert max(image.size) < 3200
    assert time.process_time() - started < 40  # the matrix took 67 s
    labels = tick_labels(figure)
    counts = given.confusion.table()
    np.fill_diagonal(counts, 0)
    assert len(labels) == plots.MOST_PAIRS
    assert all("→" in label for label in labels)
    assert [bar.get_width() for bar in figure.axes[0].patches] == sorted(counts.ravel().tolist())[::-1][
        : len(labels)
    ]


def test_many_classes_without_a_mistake_are_drawn_too() -> None:
    labels = np.arange(61)
    names = tuple(f"class {index}" for index in labels)
    paths = tuple(Path(f"{index}.jpg") for index in labels)
    drawn(matrix_of(evaluate(Predictions(np.eye(61, dtype=np.float32), labels, names, paths))))


def test_the_marked_epoch_is_the_one_whose_weights_were_saved() -> None:
    rows = [row | {"saved": row["epoch"] == 1} for row in history(4)]  # the loss fell on, by less than 1 %
    marks = [line for line in plots.learning_curves(rows).axes[1].lines if line.get_label() == "saved weights"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [2.0]
    first, _ = compared_curves({"a": rows, "b": rows}).axes[0].lines[:2]
    assert list(first.get_xdata()) == [1, 2, 3, 4]
