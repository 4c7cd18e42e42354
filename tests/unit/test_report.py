"""The report: self-contained, safe against names, readable by a screen reader, and with correct advice."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blank_plots import blank_plots
from commands import landmarks
from PIL import Image

from landmarks.training.metrics.evaluate import Evaluation, Predictions, evaluate
from landmarks.training.reports import plots
from landmarks.training.reports.report import advise, load_mistakes, shown_classes, write_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://x.test/a.png onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "Köln 🗼",
)


@pytest.fixture(autouse=True)
def _blank_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots are drawn in test_plots."""
    blank_plots(monkeypatch)


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def answers(labels: Any, predicted: Any, *, sure: float = 0.7, classes: int = 4, **changes: Any) -> Evaluation:
    """An evaluation with the answers given, each with the probability `sure`."""
    labels = np.asarray(labels, dtype=np.int64)
    table = np.full((len(labels), classes), (1 - sure) / (classes - 1), dtype=np.float32)
    table[np.arange(len(labels)), predicted] = sure
    given: dict[str, Any] = {
        "class_names": tuple(f"{index:02d}.class_{index}" for index in range(classes)),
        "paths": tuple(Path(f"{index}.jpg") for index in range(len(labels))),
    }
    return evaluate(Predictions(table, labels, **(given | changes)))


def perfect(count: int = 400) -> Evaluation:
    labels = np.arange(count) % 4
    return answers(labels, labels, sure=0.99)


def history(train: float = 0.9, valid: float = 0.88, losses: tuple[float, ...] = (2.0, 1.0, 0.99)) -> list[Any]:
    return [
        {
            "epoch": epoch,
            "train_loss": loss,
            "valid_loss": loss,
            "train_accuracy": train,
            "valid_accuracy": valid,
            "learning_rate": 1e-3,
        }
        for epoch, loss in enumerate(losses)
    ]


def report(path: Path, **changes: Any) -> Page:
    given: dict[str, Any] = {
        "title": "A run",
        "settings": {"data": "photos", "loop": {"epochs": 3, "max_minutes": None}, "sizes": (96, 128)},
        "summary": [("Network", "MyModel")],
        "evaluations": {"valid": perfect(), "test": perfect()},
        "history": history(),
        "data_summary": {"pictures": 800},
        "class_counts": {f"{index:02d}.class_{index}": 100 for index in range(4)},
        "environment": {"python": "3.11"},
    }
    given |= changes
    confusions = {
        split: plots.png_bytes(plots.confusion_matrix(one.confusion, one.class_names))
        for split, one in given["evaluations"].items()
    }
    write_report(path, **given, confusions=confusions)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / "photos" / f"{index}.jpg" for index in range(8))
    paths[0].parent.mkdir()
    for path in paths[:-2]:
        Image.new("RGB", (500, 375), "teal").save(path)
    paths[-2].write_text("no picture")
    return paths


def test_hostile_names_are_shown_and_never_obeyed(tmp_path: Path, photos: tuple[Path, ...]) -> None:
    labels = np.arange(8) % 4
    hostile = answers(labels, (labels + 1) % 4, class_names=HOSTILE, paths=photos, sources=(HOSTILE[0],) * 8)
    page = report(
        tmp_path / "report.html",
        title=HOSTILE[0],
        evaluations={HOSTILE[1]: hostile},
        summary=[(HOSTILE[0], HOSTILE[1])],
        settings={HOSTILE[0]: HOSTILE[1]},
        class_counts=dict.fromkeys(HOSTILE, 5),
    )
    assert not page.all("script")
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in HOSTILE:
        assert name in page.text


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html")
    assert not page.all("script", "link", "iframe", "object", "base")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    policy = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_can_be_read_aloud(tmp_path: Path, photos: tuple[Path, ...]) -> None:
    page = report(
        tmp_path / "report.html",
        evaluations={"test": answers([0] * 8, [1] * 8, paths=photos, sources=("web",) * 8)},
    )
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("img")
    assert all(image.get("alt") for image in page.all("img"))
    assert all(cell.get("scope") in {"row", "col"} for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_every_section_is_there(tmp_path: Path, photos: tuple[Path, ...]) -> None:
    shown = answers([0] * 8, [0] * 4 + [1] * 4, paths=photos, sources=("web", "book") * 4)
    page = report(tmp_path / "report.html", evaluations={"valid": perfect(), "test": shown})
    headings = {tag.get("id") for tag in page.all("h2")}
    assert headings == {
        *("next", "splits", "curves", "confusion", "pairs", "classes", "calibration", "sources"),
        *("mistakes", "settings", "data", "versions"),
    }
    assert "Top-1 accuracy 50.0%" in page.text
    assert "95% interval 21.5% to 78.5%" in page.text
    assert "class 0 class 1 4 50.0%" in page.text
    assert "loop: epochs 3 loop: max minutes none sizes 96, 128" in page.text


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path, photos: tuple[Path, ...]) -> None:
    wrong = answers([0] * 8, [1] * 8, paths=photos)
    read, unreadable = load_mistakes(wrong)
    assert [answer.path for answer, _ in read] == list(photos[:-2])
    assert all(max(image.size) == 320 for _, image in read)
    assert [note.split(":")[0] for note in unreadable] == ["6.jpg", "7.jpg"]
    page = report(tmp_path / "report.html", evaluations={"test": wrong})
    assert "Left out: 6.jpg: " in page.text
    assert len([image for image in page.all("img") if str(image["src"]).startswith("data:image/jpeg")]) == 6


def test_a_run_without_evaluation_or_history_has_a_report(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html", evaluations={}, history=[], summary=[], class_counts={})
    assert "No split has been evaluated yet." in page.text
    assert {tag.get("id") for tag in page.all("h2")} == {"settings", "data", "versions"}


def test_test_makes_the_headline_and_else_the_last_split(tmp_path: Path) -> None:
    halves = answers([0, 1] * 50, [0] * 100)
    assert (
        "on 100 test pictures"
        in report(tmp_path / "a.html", evaluations={"test": halves, "valid": perfect()}).text
    )
    assert (
        "on 400 new pictures" in report(tmp_path / "b.html", evaluations={"valid": halves, "new": perfect()}).text
    )


@pytest.mark.parametrize(
    ("right", "words"),
    [(400, "Very good"), (360, "Good"), (300, "Usable with care"), (200, "Weak"), (80, "No better")],
)
def test_the_verdict_follows_the_accuracy(tmp_path: Path, right: int, words: str) -> None:
    labels = np.arange(400) % 4
    predicted = np.where(np.arange(400) < right, labels, (labels + 1) % 4)
    page = report(tmp_path / "report.html", evaluations={"test": answers(labels, predicted)})
    assert f"{words}: on" in page.text or f"{words} than guessing: on" in page.text


def advice_for(
    evaluation: Evaluation | None = None,
    *,
    valid: Evaluation | None = None,
    rows: list[Any] | None = None,
    counts: dict[str, int] | None = None,
) -> dict[str, str]:
    evaluations = ({"valid": valid} if valid else {}) | {"test": evaluation or perfect()}
    return {item.title: item.text for item in advise(evaluations, rows or history(), counts or {})}


def test_nothing_to_advise_where_all_is_well(tmp_path: Path) -> None:
    assert advice_for(valid=perfect(), counts={"00.class_0": 10, "01.class_1": 12}) == {}
    assert "Nothing stands out" in report(tmp_path / "report.html").text


def test_advice_on_overfitting() -> None:
    text = advice_for(rows=history(train=0.99, valid=0.8))["Overfitting"]
    assert "99.0%" in text
    assert "80.0%" in text
    # Or the validation loss rises while the training loss falls.
    rows = [row | {"train_loss": 2.0 - 0.3 * row["epoch"]} for row in history(losses=(2.0, 1.0, 1.1, 1.3))]
    advice = advice_for(rows=[row | {"saved": row["epoch"] in {1, 3}} for row in rows])["Overfitting"]
    assert "after epoch 2 the validation loss rose by 30.0%" in advice
    assert "the saved weights are those of epoch 4" in advice  # fine-tuning goes on to the end


def test_advice_on_training_longer() -> None:
    falling = history(losses=(2.0, 1.8, 1.6, 1.4, 1.2, 1.0))
    assert "37.5%" in advice_for(rows=falling)["Training stopped while the model was still improving"]
    assert advice_for(rows=history(losses=(2.0, 1.8, 1.0, 1.1, 1.2, 1.3))) == {}
    assert advice_for(rows=history(losses=(2.0, 1.003, 1.002, 1.001, 1.0005, 1.0))) == {}


def test_advice_on_a_validation_that_promises_too_much() -> None:
    labels = np.arange(400) % 4
    worse = answers(labels, np.where(np.arange(400) < 300, labels, (labels + 1) % 4))
    assert (
        "100.0% on validation, 75.0% on test"
        in advice_for(worse, valid=perfect())["Validation accuracy is too optimistic"]
    )


def test_advice_on_confused_and_weak_classes() -> None:
    labels = np.arange(400) % 4
    one_bad = np.where((labels == 2) & (np.arange(400) < 240), 3, labels)
    given = advice_for(answers(labels, one_bad), counts={"02.class_2": 7})
    assert "class 2 predicted as class 3 (60 times, 60.0% of its pictures)" in given["Confused classes"]
    assert "class 2 (F1 57.1%, 7 training pictures)" in given["Classes far behind the others"]


def test_advice_on_classes_of_different_size() -> None:
    sizes = advice_for(counts={"a": 50, "b": 10})["Classes of very different size"]
    assert "50" in sizes
    assert "--rare-margin 0.5" in sizes, "what benchmarks/results/rare_classes.md found best"
    assert advice_for(counts={"a": 50, "b": 11}) == {}


def test_advice_on_sources() -> None:
    labels = np.arange(400) % 4
    fails = np.where(np.arange(400) < 50, (labels + 1) % 4, labels)
    given = answers(labels, fails, sources=("",) * 50 + ("web",) * 350)
    assert "not given (0.0%), against 87.5%" in advice_for(given)["Weak sources"]


@pytest.mark.parametrize(("right", "sure", "way"), [(240, 0.9, "overconfident"), (390, 0.5, "underconfident")])
def test_advice_on_calibration(right: int, sure: float, way: str) -> None:
    labels = np.arange(400) % 4
    given = answers(labels, np.where(np.arange(400) < right, labels, (labels + 1) % 4), sure=sure)
    assert way in advice_for(given)["Confidence is poorly calibrated"]


def test_advice_on_mistakes_it_is_sure_of() -> None:
    labels = np.arange(400) % 4
    given = answers(labels, np.where(np.arange(400) < 5, (labels + 1) % 4, labels), sure=0.98)
    assert "5 wrong predictions" in advice_for(given)["Confident mistakes"]


def test_advice_on_too_few_pictures() -> None:
    given = advice_for(perfect(12))["Too few pictures for a precise estimate"]
    assert "With 12 pictures" in given
    assert "About 210 pictures" in given


def test_a_file_name_that_is_no_utf8_does_not_stop_the_report(tmp_path: Path) -> None:
    odd = answers([0, 1], [1, 1], paths=(Path("caf\udce9.jpg"), Path("b.jpg")))
    assert r"caf\udce9.jpg" in report(tmp_path / "report.html", evaluations={"test": odd}).text


def test_a_report_of_very_many_classes_shows_the_most_confused_pairs(tmp_path: Path) -> None:
    labels = np.arange(1400) % 700
    many = answers(labels, np.where(np.arange(1400) < 40, (labels + 1) % 700, labels), classes=700)
    page = report(tmp_path / "report.html", evaluations={"test": many})
    assert "Too many classes for a matrix: the most confused pairs." in page.text
    assert "500 of 700 classes between the worst and the best" in page.text
    worst = min(evaluation.f1 for evaluation in many.classes)
    assert next(one.f1 for one in shown_classes(many.classes)) == worst
    assert len(shown_classes(many.classes)) == 200


def test_options_that_the_advice_names_are_shown_by_train() -> None:
    training = Path(__file__).parents[2] / "src/landmarks/training"
    advising = (training / "reports/report.py", training / "doctor/balance.py")
    flags = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    named = {flag for path in advising for flag in flags.findall(path.read_text(encoding="utf-8"))}
    assert len(named) >= 5
    assert named <= set(flags.findall(landmarks("train", "--help").out))
